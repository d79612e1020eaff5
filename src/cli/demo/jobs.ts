/** The jobs of the demo: small things a shell can do, each with the end it must come to. */
/** How the demo's jobs can end. */
export type DemoEnd = 'JOB_COMPLETED' | 'JOB_FAILED' | 'JOB_TIMEOUT';

export interface DemoJob {
  readonly title: string;
  readonly command: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutSeconds?: number;
  readonly expect: DemoEnd;
}

const job = (title: string, command: string, more: Partial<DemoJob> = {}): DemoJob => ({
  title,
  command,
  expect: 'JOB_COMPLETED',
  ...more,
});

const SPECIAL: readonly DemoJob[] = [
  job('a greeting', 'echo "Hello from the mesh!"'),
  job('a pipe', `printf 'pear\\napple\\nfig\\n' | sort | head -1`),
  job('quotes', `echo "it's" 'a "quoted"' word`),
  job('a variable', 'echo "Dear $NAME,"', { env: { NAME: 'reader' } }),
  job('a non-zero exit', 'echo "disk not found" >&2; exit 3', { expect: 'JOB_FAILED' }),
  job('a timeout', 'sleep 60', { timeoutSeconds: 1, expect: 'JOB_TIMEOUT' }),
  job('an unknown command', 'frobnicate --all', { expect: 'JOB_FAILED' }),
  job('several lines', 'for i in 1 2 3; do echo "line $i"; done'),
];

const WORK: readonly DemoJob[] = Array.from({ length: 24 }, (_, i) =>
  job(`work ${i + 1}`, `sleep 0.${3 + (i % 5)}; echo "part ${i + 1} of 24"`),
);

/** 32 in all. */
export const DEMO_JOBS: readonly DemoJob[] = [...SPECIAL, ...WORK];
