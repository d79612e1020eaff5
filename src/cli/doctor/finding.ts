/** One thing that was looked at. */
export interface Finding {
  /** `ports`, `network`, … */
  readonly area: string;
  readonly level: 'ok' | 'note' | 'problem';
  /** What was found, as a sentence. */
  readonly text: string;
  /** What to do about it. */
  readonly advice?: string | undefined;
}

export type Area = (level: Finding['level'], text: string, advice?: string) => Finding;

export const inArea =
  (area: string): Area =>
  (level, text, advice) => ({ area, level, text, advice });
