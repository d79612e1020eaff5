/** What the bench and the process of a contestant say to each other. */
import type { Sample } from './row.ts';

export type Request = { readonly run: string } | { readonly close: true };

export type Answer =
  | { readonly kind: 'opened'; readonly runs: readonly string[] }
  | { readonly kind: 'ran'; readonly sample: Sample }
  | { readonly kind: 'closed' }
  /** It cannot be had here, or it failed: `why` is for people. */
  | { readonly kind: 'unavailable'; readonly why: string }
  | { readonly kind: 'failed'; readonly why: string };
