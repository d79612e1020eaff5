/**
 * Makes a failing plan as small as it can be while it still breaks the same invariant: leaves out
 * faults, jobs and nodes, larger pieces first. What is left is what a person has to understand.
 */
import type { Fault, JobPlan, Plan } from './plan.ts';
import { type RunResult, runPlan } from './simulate.ts';

/** `I2`, `anomaly`: a run that breaks something else is another failure. */
export const kindOf = (result: RunResult): string | undefined =>
  result.violations[0]?.split(' ')[1];

export async function shrink(plan: Plan, maxRuns: number): Promise<Plan> {
  const kind = kindOf(await runPlan(plan));
  if (kind === undefined) return plan;
  let runs = 0;
  const stillFails = async (candidate: Plan): Promise<boolean> =>
    ++runs <= maxRuns && kindOf(await runPlan(candidate)) === kind;
  let best = plan;
  for (let before = -1; before !== sizeOf(best) && runs < maxRuns; ) {
    before = sizeOf(best);
    best = await withFewer<Fault>(best, 'faults', stillFails);
    best = await withFewer<JobPlan>(best, 'jobs', stillFails);
    best = await withFewerNodes(best, stillFails);
    best = await withCalmNetwork(best, stillFails);
  }
  return best;
}

type Test = (plan: Plan) => Promise<boolean>;

const sizeOf = ({ faults, jobs, nodes }: Plan): number =>
  faults.length + jobs.length + nodes.length;

async function withFewer<Part>(plan: Plan, name: 'faults' | 'jobs', test: Test): Promise<Plan> {
  let best = plan;
  const parts = (): readonly Part[] => best[name] as readonly unknown[] as readonly Part[];
  for (let size = Math.ceil(parts().length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let from = 0; from < parts().length; ) {
      const rest = [...parts().slice(0, from), ...parts().slice(from + size)];
      const candidate: Plan = { ...best, [name]: rest };
      if (await test(candidate)) best = candidate;
      else from += size;
    }
  }
  return best;
}

/** From the last one: the others keep their index, and with it their dice. */
async function withFewerNodes(plan: Plan, test: Test): Promise<Plan> {
  let best = plan;
  while (best.nodes.length > 1) {
    const last = best.nodes.length - 1;
    const isUsed = ({ node }: Fault): boolean => node === last;
    const candidate: Plan = {
      ...best,
      nodes: best.nodes.slice(0, -1),
      faults: best.faults.filter((fault) => !isUsed(fault)),
      jobs: best.jobs.filter(({ target }) => target !== last),
    };
    if (!(await test(candidate))) return best;
    best = candidate;
  }
  return best;
}

async function withCalmNetwork(plan: Plan, test: Test): Promise<Plan> {
  const calmer: Plan[] = [
    { ...plan, network: { ...plan.network, loss: 0, duplication: 0, isOrdered: true } },
    { ...plan, network: { ...plan.network, delay: 1, hintLoss: 0 } },
  ];
  let best = plan;
  for (const { network } of calmer) {
    const candidate = { ...best, network: { ...best.network, ...changed(plan, network) } };
    if (await test(candidate)) best = candidate;
  }
  return best;
}

const changed = (plan: Plan, network: Plan['network']): Partial<Plan['network']> =>
  Object.fromEntries(
    Object.entries(network).filter(([name, value]) => plan.network[name as never] !== value),
  );
