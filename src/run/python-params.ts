/** Parameters of the task type `python`. */
import * as z from 'zod';

/** What one argument of a process may have on Linux, its end mark counted. */
const MAX_CODE_BYTES = 128 * 1024 - 1;
const MAX_ARGUMENTS = 1024;

const argument = z
  .string('must be a text')
  .refine((text) => !text.includes('\0'), 'has a zero byte')
  .refine((text) => Buffer.byteLength(text) <= MAX_CODE_BYTES, 'is longer than 128 KiB');

export const pythonParams = z
  .strictObject(
    {
      /** Python source; also the field `command` of the job. */
      code: argument.refine((text) => text.trim() !== '', 'must not be empty').optional(),
      /** A file on the executing node, absolute or below the working folder. */
      script: argument.refine((text) => text !== '', 'must not be empty').optional(),
      /** `sys.argv` from its second element on. */
      args: z
        .array(argument, 'must be a list of texts')
        .max(MAX_ARGUMENTS, `has more than ${MAX_ARGUMENTS} arguments`)
        .optional(),
    },
    'must be an object with code or script',
  )
  .refine(
    ({ code, script }) => (code === undefined) !== (script === undefined),
    'must have either code (Python source) or script (a file on the executing node)',
  );

export type PythonParams = z.output<typeof pythonParams>;
