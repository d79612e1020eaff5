/**
 * The API's tokens, derived from the mesh key: every node of the mesh takes the same ones, none
 * has to be stored or handed round, and `mesh token` can print them anywhere the key is. They say
 * nothing about the key, and a read token nothing about the others. Another key, other tokens:
 * that is also the way to revoke them.
 */
import { hkdfSync } from 'node:crypto';
import { ROLES, type Role } from './api.ts';

export type ApiTokens = Readonly<Record<Role, string>>;

const TOKEN_BYTES = 32;

/** `mesh-read-…`: the role in the text is for people, the server goes by the whole. */
export function deriveApiTokens(meshKey: Uint8Array): ApiTokens {
  const derive = (role: Role): string => {
    const bytes = hkdfSync('sha256', meshKey, '', `worker-mesh api token ${role}`, TOKEN_BYTES);
    return `mesh-${role}-${Buffer.from(bytes).toString('base64url')}`;
  };
  return Object.fromEntries(ROLES.map((role) => [role, derive(role)])) as Record<Role, string>;
}
