/** What a node's API answers in a second. */
import type { Contestant, Opened, Row, Stage } from '../frame/row.ts';
import { followed } from '../mesh/followers.ts';
import { getRequest, HttpConnection, postRequest } from '../mesh/http-connection.ts';
import { loadOf } from '../mesh/http-load.ts';
import { startNodes } from '../mesh/node-processes.ts';
import { startBareApi } from '../peers/bare-api.ts';
import { paramsOf } from '../peers/queue.ts';

const CONNECTIONS = 64;
const [DURATION_MS, QUICK_DURATION_MS] = [4000, 200];
const ARRAY = 100;
const PATH = '/api/v1/jobs';
const QUEUE_LIMIT = 5_000_000;

/** The jobs are only taken: that they run is another row's question. */
async function requestsTo(stage: Stage, url: string): Promise<Opened['runs']> {
  const job = (i: number): unknown => ({ task_type: 'noop', params: paramsOf(i) });
  const array = postRequest(
    PATH,
    Array.from({ length: ARRAY }, (_, i) => job(i)),
  );
  const id = await firstJob(url, array);
  const load = (about: { request: (i: number) => Buffer; status: number; jobs?: number }) => () =>
    loadOf({
      url,
      connections: about.jobs === undefined ? CONNECTIONS : CONNECTIONS / 8,
      durationMs: stage.isQuick ? QUICK_DURATION_MS : DURATION_MS,
      ...about,
    });
  return {
    post: load({ request: (i) => postRequest(PATH, job(i)), status: 201 }),
    array: load({ request: () => array, status: 201, jobs: ARRAY }),
    get: load({ request: () => getRequest(`${PATH}/${id}`), status: 200 }),
    list: load({ request: () => getRequest(`${PATH}?limit=100`), status: 200 }),
  };
}

/** There are enough for a list then. */
async function firstJob(url: string, array: Buffer): Promise<string> {
  const connection = await HttpConnection.open(url);
  const { status, body } = await connection.ask(array);
  connection.close();
  if (status !== 201) throw new Error(`an array of jobs was answered ${status}: ${body}`);
  const { jobs } = JSON.parse(body) as { jobs: { job_id: string }[] };
  return jobs[0]?.job_id ?? '';
}

const mesh: Contestant = {
  name: 'mesh up',
  isMesh: true,
  keeps: 'one disk, fsync',
  open: async (stage) => {
    const limit = { flags: ['--queue-limit', String(QUEUE_LIMIT)] };
    const { nodes, stop } = await startNodes(['one'], { slots: 0, ...limit });
    return { runs: await requestsTo(stage, nodes[0]?.url ?? ''), close: stop };
  },
};

const bare: Contestant = {
  name: 'bare node:http on SQLite',
  isMesh: false,
  keeps: 'one disk, fsync',
  open: async (stage) => {
    const { url, stop } = await startBareApi(stage.folder);
    return { runs: await requestsTo(stage, url), close: stop };
  },
};

const rate = { figure: 'rate', better: 'more' } as const;

export const http: Row = {
  name: 'http',
  what: 'What the API of one node answers, 64 connections (8 for arrays)',
  lines: [
    { ...rate, run: 'post', what: 'durable POSTs of one job', unit: 'jobs/s' },
    { run: 'post', figure: 'p99', what: 'the same, p99', unit: 'ms', better: 'less' },
    { ...rate, run: 'array', what: 'durable POSTs of 100 jobs', unit: 'jobs/s' },
    { ...rate, run: 'get', what: 'GET of a job', unit: 'requests/s' },
    { ...rate, run: 'list', what: 'GET of a list of 100', unit: 'requests/s' },
  ],
  contestants: [mesh, bare],
  note: 'Beside it is the limit of Node and SQLite: no access check, no schema, nothing of a mesh. CPU is per 10,000 jobs or requests.',
};

const [FOLLOWERS, QUICK_FOLLOWERS] = [1000, 10];
const [SILENT_MS, QUICK_SILENT_MS] = [10_000, 300];
const [BYTES, QUICK_BYTES] = [1_000_000, 10_000];

export const followers: Row = {
  name: 'followers',
  what: 'One job that 1,000 follow by server-sent events at one node',
  rounds: 1,
  isWarm: false,
  deadlineMs: 10 * 60_000,
  lines: [
    {
      run: 'follow',
      figure: 'silent',
      what: 'nothing is printed: processor of the node',
      unit: '% of a core',
      better: 'less',
    },
    {
      run: 'follow',
      figure: 'delivered',
      what: 'a megabyte is printed: to all followers together',
      unit: 'MB/s',
      better: 'more',
    },
  ],
  contestants: [
    {
      name: 'mesh up',
      isMesh: true,
      keeps: 'output on disk',
      open: async ({ isQuick, folder }) => {
        const { nodes, stop } = await startNodes(['one']);
        const [node] = nodes;
        if (!node) throw new Error('no node');
        const options = {
          followers: isQuick ? QUICK_FOLLOWERS : FOLLOWERS,
          silentMs: isQuick ? QUICK_SILENT_MS : SILENT_MS,
          bytes: isQuick ? QUICK_BYTES : BYTES,
          folder,
        };
        return { runs: { follow: () => followed(node, options) }, close: stop };
      },
    },
  ],
};
