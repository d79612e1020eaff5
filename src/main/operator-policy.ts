/** The policy file of the node's operator. */
import { join } from 'node:path';
import { MeshError } from '../base/errors.ts';
import { readSettingsFile } from '../config/settings-file.ts';
import type { Config } from '../config.ts';
import { NO_POLICY, type Policy, parsePolicy } from '../policy/policy.ts';

/** Read once, at the start: policy.yaml in the configuration folder unless another one is named. @throws MeshError BAD_SETTING */
export function readPolicy({ policyFile, configDir }: Config): Policy {
  const file = policyFile ?? join(configDir, 'policy.yaml');
  const content = readSettingsFile(file);
  if (content !== undefined) return parsePolicy(file, content);
  if (policyFile === undefined) return NO_POLICY;
  throw new MeshError(
    'BAD_SETTING',
    `There is no policy file ${policyFile}: name one that is there with --policy (or MESH_POLICY), or leave it out.`,
  );
}
