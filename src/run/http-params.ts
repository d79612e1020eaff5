/** Parameters of the task type `http`. */
import * as z from 'zod';

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;
const MAX_URL_CHARS = 8192;
const MAX_HEADERS = 64;
const MAX_HEADER_CHARS = 8192;
const MAX_BODY_BYTES = 1024 ** 3;
const DEFAULT_MAX_BODY_BYTES = 64 * 1024 ** 2;

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Said by the connection itself. */
const OWN_HEADERS = new Set([
  'connection',
  'content-length',
  'expect',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

const isWeb = (text: string): boolean =>
  URL.canParse(text) && ['http:', 'https:'].includes(new URL(text).protocol);

const hasNoLogin = (text: string): boolean => {
  if (!URL.canParse(text)) return true;
  const { username, password } = new URL(text);
  return username === '' && password === '';
};

const STATUS = 'must be a status (200), a class ("2xx") or a list of these';
const status = z.union(
  [z.int(STATUS).min(100, STATUS).max(599, STATUS), z.string(STATUS).regex(/^[1-5]xx$/i, STATUS)],
  STATUS,
);

export const httpParams = z.strictObject(
  {
    url: z
      .string('must be an http:// or https:// URL')
      .max(MAX_URL_CHARS, `is longer than ${MAX_URL_CHARS} characters`)
      .refine(isWeb, 'must be an http:// or https:// URL')
      .refine(hasNoLogin, 'must be without user and password: send the header Authorization'),
    method: z
      .string(`must be one of ${METHODS.join(', ')}`)
      .toUpperCase()
      .pipe(z.enum(METHODS, `must be one of ${METHODS.join(', ')}`))
      .default('GET'),
    headers: z
      .record(
        z.string(),
        z
          .string('must be a text')
          .max(MAX_HEADER_CHARS, `is longer than ${MAX_HEADER_CHARS} characters`)
          .regex(HEADER_VALUE, 'has a character that no header may have'),
        'must be an object of names and texts',
      )
      .refine((all) => Object.keys(all).length <= MAX_HEADERS, `has more than ${MAX_HEADERS}`)
      .refine(
        (all) => Object.keys(all).every((name) => HEADER_NAME.test(name)),
        'has a name that no header may have',
      )
      .refine(
        (all) => !Object.keys(all).some((name) => OWN_HEADERS.has(name.toLowerCase())),
        `has a name that the connection itself says (${[...OWN_HEADERS].join(', ')})`,
      )
      .default({}),
    /** A text is sent as it is, anything else as JSON. */
    body: z.json('must be a text or any JSON').optional(),
    expected_status: z
      .union([status, z.array(status, STATUS).min(1, STATUS).max(64, STATUS)], STATUS)
      .transform((one) => [one].flat().map((each) => String(each).toLowerCase()))
      .default(['2xx']),
    follow_redirects: z.boolean('must be true or false').default(true),
    /** A longer body is a failure. */
    max_body_bytes: z
      .int(`must be a whole number from 0 to ${MAX_BODY_BYTES}`)
      .min(0, 'must not be less than 0')
      .max(MAX_BODY_BYTES, `is more than ${MAX_BODY_BYTES}`)
      .default(DEFAULT_MAX_BODY_BYTES),
  },
  'must be an object with a url',
);

export type HttpParams = z.output<typeof httpParams>;
