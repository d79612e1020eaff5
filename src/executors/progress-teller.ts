/** Tells how far an attempt is: at once, then at most a few times a second, the newest always. */
import { MAX_PROGRESS_CHARS, type Progress } from '../core/job.ts';

const TELL_INTERVAL_MS = 250;

export class ProgressTeller {
  /** What was told, or would be with the next telling. */
  latest: Progress | undefined;
  private readonly report: (progress: Progress) => void;
  private timer: NodeJS.Timeout | undefined;
  private isOpen = false;
  private isUntold = false;

  constructor(report: (progress: Progress) => void) {
    this.report = report;
  }

  /** It runs, and that was said. */
  open(): void {
    this.isOpen = true;
    this.flush();
  }

  tell({ percent, message }: Progress): void {
    const bounded = Math.min(100, Math.max(0, Number.isFinite(percent) ? percent : 0));
    this.latest = { percent: bounded, message: message.slice(0, MAX_PROGRESS_CHARS) };
    this.isUntold = true;
    this.flush();
  }

  private flush(): void {
    if (!this.isOpen || !this.isUntold || this.timer || !this.latest) return;
    this.isUntold = false;
    this.report(this.latest);
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.flush();
    }, TELL_INTERVAL_MS);
    this.timer.unref();
  }

  /** The newest goes with the end. */
  close(): void {
    this.isOpen = false;
    clearTimeout(this.timer);
  }
}
