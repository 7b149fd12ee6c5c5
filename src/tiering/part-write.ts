/**
 * One insert, attempted until the store has it: the same rows under the same identity each time. Rows that the store refuses for
 * what they hold are parked as dead letters, durable before the rest of the insert takes effect, and left out of every later
 * attempt.
 */
import type { RecordBatch } from 'apache-arrow';
import type { DeadLetterParking } from '../core/dead-letter';
import type { TableName } from '../core/ids';
import { type RefusedRow, type Sink, SinkError, type SinkWrite, type WriteIdentity } from '../core/sink';
import type { TableSchema } from '../core/table-schema';
import type { DeliveryPlan, PlanPart } from '../core/wal';
import type { Logger, Telemetry } from '../telemetry';
import { diversions, type LeftOut, leftOutOf } from './left-out';
import { batchOf, type PartRows } from './plan';
import { parkedRows, type RowSource, type Separated, separateUnfit } from './refused-rows';

export interface PartWriteOptions {
  readonly sink: Sink;
  readonly deadLetters: DeadLetterParking;
  readonly schemaOf: (table: TableName) => TableSchema | undefined;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
}

/** Rows that become durable as dead letters together. */
const PARKED_AT_ONCE = 10_000;

export class PartWrite {
  /** Rows that are no part of the insert; complete once an attempt has succeeded. */
  private left: LeftOut | undefined;
  /** The same as one set, as sinks want it. */
  private readonly without = new Set<number>();
  private separated: Separated | undefined;
  private batch: RecordBatch | undefined;
  private mayHaveRun: boolean;

  /** `repeated`: an earlier process may have made attempts. */
  constructor(
    private readonly options: PartWriteOptions,
    private readonly id: WriteIdentity,
    private readonly plan: DeliveryPlan,
    private readonly insert: { readonly part: PlanPart; readonly rows: PartRows; readonly repeated: boolean },
  ) {
    this.mayHaveRun = insert.repeated;
  }

  /** Gives the rows that are dead letters or went to the other tier when the store has all others. Throws SinkError; then call it again. */
  async attempt(): Promise<LeftOut> {
    const { sink, telemetry, schemaOf } = this.options;
    const { id } = this;
    const { part } = this.insert;
    const schema = registered(schemaOf, part.table);
    const left = (this.left ??= await this.leftBefore());
    for (const row of [...left.refused, ...left.diverted]) this.without.add(row);
    await this.parkUnfit(schema, left);
    const batch = (this.batch ??= batchOf(this.separated!.part));
    const stop = telemetry.deliverySeconds.startTimer({ tier: sink.tier });
    try {
      await sink.ensureTable(schema);
      const write: SinkWrite = {
        id,
        schema,
        batch,
        mayHaveRun: this.mayHaveRun,
        mayHoldMore: this.plan.repaired === true,
        refused: this.without,
        onRefused: (found) => this.park({ batch, start: 0 }, found, left),
        onDiverted: (found) => this.divert(batch, found, left),
      };
      this.mayHaveRun = true;
      await sink.write(write);
    } finally {
      stop();
    }
    part.done = true;
    telemetry.deliveredRows.inc({ table: part.table, tier: sink.tier }, part.rows - this.without.size);
    return left;
  }

  /** What an earlier process left out. In a plan that lost entries, earlier positions of rows mean nothing. */
  private async leftBefore(): Promise<LeftOut> {
    const { deadLetters, sink } = this.options;
    if (this.insert.repeated && this.plan.repaired !== true) return leftOutOf(deadLetters, sink.tier, this.id);
    return { refused: new Set(), diverted: new Set() };
  }

  private async parkUnfit(schema: TableSchema, left: LeftOut): Promise<void> {
    this.separated ??= separateUnfit(this.insert.rows, schema);
    for (const { source, refused: found } of this.separated.unfit) {
      const open = found.filter(({ row }) => !this.without.has(row));
      await this.park(source, open, left);
    }
  }

  private async park(source: RowSource, found: readonly RefusedRow[], left: LeftOut): Promise<void> {
    const { sink, deadLetters } = this.options;
    for (let at = 0; at < found.length; at += PARKED_AT_ONCE) {
      const slice = found.slice(at, at + PARKED_AT_ONCE);
      await deadLetters.park(parkedRows(sink.tier, this.id, this.insert.rows, source, slice));
      for (const { row } of slice) {
        this.without.add(row);
        left.refused.add(row);
      }
      this.countRefused(slice);
    }
  }

  private async divert(batch: RecordBatch, found: readonly number[], left: LeftOut): Promise<void> {
    const { sink, deadLetters, schemaOf, telemetry } = this.options;
    const { table } = this.id;
    for (const piece of diversions(sink.tier, { id: this.id, batch }, registered(schemaOf, table), found)) {
      await deadLetters.divert(piece);
      for (const row of piece.rows) {
        this.without.add(row);
        left.diverted.add(row);
      }
      telemetry.divertedRows.inc({ table, tier: piece.to }, piece.rows.length);
    }
  }

  private countRefused(found: readonly RefusedRow[]): void {
    const { sink, telemetry, logger } = this.options;
    const { table } = this.insert.part;
    for (const { code } of found) telemetry.deadLetters.inc({ table, tier: sink.tier, code });
    const [{ code, column, message }] = found;
    logger.warn({ table, tier: sink.tier, rows: found.length, code, column, reason: message }, 'rows became dead letters');
  }
}

/** Throws SinkError for a table that the registry does not know. */
export function registered(schemaOf: PartWriteOptions['schemaOf'], table: TableName): TableSchema {
  const schema = schemaOf(table);
  if (schema === undefined) throw unregistered(table);
  return schema;
}

/** Not the end: the table may come from the shared registry, or be registered anew. */
export const unregistered = (table: TableName): SinkError =>
  new SinkError('retry', `table ${table} has rows in the WAL but is not in the registry`, { scope: 'table' });
