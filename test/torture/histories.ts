/** Histories made by hand: one in which every promise was kept, and ways to change it. */
import type {
  EndState,
  EndView,
  Execution,
  FaultRecord,
  FinalView,
  History,
  JobHistory,
} from '../../src/torture/history.ts';

export const NODES = ['node1', 'node2', 'node3'] as const;
export const JOB = 'job-a';

export const execution = (more: Partial<Execution> = {}): Execution => ({
  job: JOB,
  label: 'short-1',
  attempt: 1,
  fence: '1.node-x.1',
  node: 'node2',
  pid: 4711,
  start: 10_000,
  last: 11_000,
  exitCode: 0,
  isMute: false,
  overlaps: [],
  ...more,
});

/** Fence and times of a second attempt, on another node. */
export const secondAttempt = (more: Partial<Execution> = {}): Execution =>
  execution({
    attempt: 2,
    fence: '1.node-x.2',
    node: 'node3',
    pid: 4712,
    start: 20_000,
    last: 21_000,
    ...more,
  });

/** Of the execution above. */
export const final = (more: Partial<FinalView> = {}): FinalView => ({
  status: 'JOB_COMPLETED',
  exitCode: 0,
  signal: null,
  finishedAt: '2026-11-21T12:00:11.000Z',
  stdout: '1.node-x.1\n',
  ...more,
});

export const job = (more: Partial<JobHistory> = {}): JobHistory => ({
  label: 'short-1',
  kind: 'short',
  exitCode: 0,
  key: undefined,
  submits: [
    {
      node: 'node1',
      at: 9900,
      tookMs: 12,
      living: 3,
      answer: { tag: 'acknowledged', job: JOB, durability: 'replicated' },
    },
  ],
  cancels: [],
  ...more,
});

export const fault = (more: Partial<FaultRecord> = {}): FaultRecord => ({
  kind: 'kill',
  nodes: ['node2'],
  from: 10_500,
  to: 15_000,
  note: '',
  ...more,
});

/** All nodes say the same of the job. */
export const endWith = (view: EndView, more: Partial<EndState> = {}): EndState => ({
  healedAt: 60_000,
  agreedAt: 61_000,
  disagreements: [],
  views: new Map(NODES.map((node) => [node, new Map([[JOB, view]])])),
  conflicts: '',
  leftovers: [],
  ...more,
});

export const finalEnd = (more: Partial<FinalView> = {}, attempts = 1): EndState =>
  endWith({ tag: 'final', final: final(more), attempts });

export const history = (more: Partial<History> = {}): History => ({
  nodes: NODES,
  faults: [],
  standstills: [],
  jobs: [job()],
  executions: [execution()],
  sightings: [{ at: 11_100, node: 'node1', job: JOB, owner: 'node1', final: final() }],
  oddAnswers: [],
  ownEnds: [],
  end: finalEnd(),
  ...more,
});
