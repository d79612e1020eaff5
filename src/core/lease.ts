/**
 * The times of an attempt's lease: its right to run, from the sending of a renewal that a quorum
 * of the job's replica set answered. A new attempt starts only when the lease of the old one is
 * over on the slowest clock: REVOKE_WAIT_MS = 1.1 × LEASE_MS covers clock rates 4 % apart in both
 * directions and the executor's own reaction time.
 */
export const LEASE_MS = 6000;
export const RENEW_INTERVAL_MS = LEASE_MS / 4;
export const REVOKE_WAIT_MS = 6600;
/** SIGTERM so long before the end of the lease, SIGKILL at its end. */
export const LEASE_GRACE_MS = 1000;
