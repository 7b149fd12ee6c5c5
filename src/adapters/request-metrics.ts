import type { DecodedRequest } from '../core/batch';
import type { ErrorCode } from '../core/errors';
import type { Protocol } from '../core/ingest';
import { LIMITS } from '../core/limits';
import type { Telemetry } from '../telemetry';

type Outcome = 'ok' | 'partial' | ErrorCode;

/** The counters of one protocol, with their labels looked up once instead of at every request. */
export class RequestMetrics {
  private readonly tables = new Set<string>();
  private readonly outcomes = new Map<Outcome, { inc(): void }>();
  private readonly bytes: { inc(by: number): void };
  private readonly seconds: { observe(value: number): void };

  constructor(
    private readonly telemetry: Telemetry,
    private readonly protocol: Protocol,
  ) {
    this.bytes = telemetry.requestBytes.labels(protocol);
    this.seconds = telemetry.ackSeconds.labels(protocol);
  }

  /** A whole request is there, `wireBytes` long as it came. */
  received(wireBytes: number): void {
    this.bytes.inc(wireBytes);
  }

  /** A request was acknowledged; `receivedAtMs` is when it was whole, by `performance.now()`; `table` where rows went that do not say it. */
  acknowledged(decoded: DecodedRequest, receivedAtMs: number, table: string): void {
    this.seconds.observe((performance.now() - receivedAtMs) / 1000);
    this.count(decoded.rejectedRows === 0 ? 'ok' : 'partial');
    if (decoded.rejectedRows > 0) this.countRejections(decoded, table);
  }

  /** A request of which no row was accepted. */
  refused(decoded: DecodedRequest, table: string): void {
    this.count('invalid_argument');
    this.countRejections(decoded, table);
  }

  failed(code: ErrorCode): void {
    this.count(code);
  }

  private count(outcome: Outcome): void {
    let counter = this.outcomes.get(outcome);
    if (counter === undefined) {
      counter = this.telemetry.requests.labels(this.protocol, outcome);
      this.outcomes.set(outcome, counter);
    }
    counter.inc();
  }

  /** A table without an accepted row is a text of the client's: so many of them get a label of their own. */
  private label(table: string): string {
    if (this.tables.size < LIMITS.tablesMax) this.tables.add(table);
    return this.tables.has(table) ? table : 'other';
  }

  /** By code as far as the rejections are listed, the rest as `unlisted`. */
  private countRejections({ rejections, rejectedRows }: DecodedRequest, table: string): void {
    const { protocol } = this;
    const named = this.label(table);
    for (const { code, table: own = named } of rejections) this.telemetry.rejectedRows.inc({ table: own, protocol, code });
    const unlisted = rejectedRows - rejections.length;
    if (unlisted > 0) this.telemetry.rejectedRows.inc({ table: named, protocol, code: 'unlisted' }, unlisted);
  }
}
