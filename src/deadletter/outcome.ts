import type { DeadLetterOutcome } from '../core/dead-letter';
import { LIMITS } from '../core/limits';

/** Counts what became of letters while steps go on. */
export class Outcome implements DeadLetterOutcome {
  done = 0;
  keptCount = 0;
  readonly kept: { id: string; reason: string }[] = [];

  keep(id: string, reason: string): void {
    this.keptCount++;
    if (this.kept.length < LIMITS.rejectionsListedMax) this.kept.push({ id, reason });
  }
}
