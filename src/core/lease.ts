/**
 * The times of an attempt's lease: its right to run, from the sending of a renewal that a quorum
 * of the job's replica set answered. A new attempt starts only when the lease of the old one is
 * over on the slowest clock: REVOKE_WAIT_MS = 1.1 × LEASE_MS covers clock rates 4 % apart in both
 * directions and the executor's own reaction time.
 */
export const LEASE_MS = 6000;
/**
 * Often, because what is left of a lease when its node is killed is the time for the next start:
 * 6 s, less this, less the grace below, leaves 4 s and one more to take the attempts up.
 */
export const RENEW_INTERVAL_MS = 500;
export const REVOKE_WAIT_MS = 6600;
/**
 * So long after its last yes the attempt of a dead executor is revoked: a node that is started
 * again within 4 s finds its attempts still granted and takes them up.
 */
export const REVOKE_AFTER_MS = 5800;
/** SIGTERM so long before the end of the lease, SIGKILL at its end. */
export const LEASE_GRACE_MS = 500;
