/**
 * The largest of everything that nodes tell each other. What is over a limit is malformed as a
 * whole: it is refused, not cut. They are far above what this program makes, and low enough that
 * a peer gone mad cannot fill a node's memory.
 */

/** Of one frame, its length not counted. */
export const MAX_FRAME_BYTES = 4 * 1024 * 1024;
/** Larger batches are spread over several frames, so that pings get in between. */
export const FULL_FRAME_BYTES = 256 * 1024;
export const MAX_MESSAGES_PER_FRAME = 1000;
/** Of one answer, all its parts together. */
export const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
/** A heartbeat with header and seal: what passes everywhere without being cut into fragments. */
export const MAX_DATAGRAM_BYTES = 1200;

/** Job ids, births, nonces, hashes, salts. */
export const MAX_ID_CHARS = 128;
/** Names of hosts, platforms, task types, labels, capabilities, environment variables. */
export const MAX_NAME_CHARS = 1024;
/** Reasons and other sentences for people; the one thing that is cut when it is made too long. */
export const MAX_SENTENCE_CHARS = 8192;
/** Command, parameters, value of an environment variable. */
export const MAX_TEXT_CHARS = 2 * 1024 * 1024;

/** Nodes of a replica set: three, and room for a mesh that wants more. */
export const MAX_REPLICAS = 9;
/** Labels, capabilities, environment variables, lines of a heartbeat's metadata. */
export const MAX_MAP_ENTRIES = 4096;
export const MAX_HOSTS = 64;
export const MAX_TASK_TYPES = 1024;
export const MAX_MEMBER_ENTRIES = 256;
/** Attempts, bans, conflicts, names of records in one message; longer lists go in several. */
export const MAX_LIST_ENTRIES = 1000;
export const MAX_HISTORY_ENTRIES = 64;
export const MAX_LISTED_RECORDS = 1000;
/** Nodes that say why they don't run a job. */
export const MAX_WAITING_REASONS = 4096;
export const MAX_STATUSES = 16;
/** Of each stream's end in an outcome. */
export const MAX_TAIL_WIRE_BYTES = 64 * 1024;
/** Of one piece of output that was asked for. */
export const MAX_CHUNK_BYTES = 256 * 1024;
/** Into a terminal, at once. */
export const MAX_TYPED_BYTES = 64 * 1024;
export const MAX_BODY_BYTES = 4 * 1024 * 1024;
