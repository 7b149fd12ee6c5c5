import { lsn, type TableName, type WalId } from '../../src/core/ids';
import { type LastInsert, type Recall, type Sink, SinkError, type SinkFailure, type SinkWrite } from '../../src/core/sink';
import type { TableSchema, Tier } from '../../src/core/table-schema';

/** What a write of the memory sink does: takes effect or not, and is reported as done or failed. */
export interface Fault {
  readonly effect: boolean;
  readonly failure: SinkFailure;
}

/** Ids that the store refuses for what they are, as a CHECK constraint would. */
export type Refuses = (id: number) => boolean;

/** A store in memory behind the Sink contract, exact by identity as the real ones are, with faults on demand. */
export class MemorySink implements Sink {
  /** Values of column `id`, by identity of the insert. */
  readonly inserts = new Map<string, number[]>();
  readonly writes: SinkWrite[] = [];
  /** Inserts that took effect. */
  private readonly effects = new Map<string, SinkWrite>();
  readonly tables: string[] = [];
  up = true;

  constructor(
    readonly tier: Tier,
    readonly partitioning: 'none' | 'day',
    private readonly nextFault: () => Fault | undefined = () => undefined,
    public refuses: Refuses = () => false,
    /** Ids that belong to a day which was moved to the other tier. */
    public moved: Refuses = () => false,
  ) {}

  async start(): Promise<void> {
    if (!this.up) throw new SinkError('retry', 'the store is down');
  }

  async ensureTable(schema: TableSchema): Promise<void> {
    if (!this.tables.includes(schema.table)) this.tables.push(schema.table);
  }

  async write(write: SinkWrite): Promise<void> {
    if (!this.up) throw new SinkError('retry', 'the store is down');
    this.writes.push(write);
    const { walId, lsn: first, table, partition } = write.id;
    const key = [walId, first, table, partition].join('/');
    const all = [...(write.batch.getChild('id') ?? [])] as number[];
    const found = all.flatMap((id, row) =>
      this.refuses(id) && !write.refused.has(row) && !this.inserts.has(key)
        ? [{ row, stage: 'insert' as const, code: '23514', column: 'id', message: `id ${id} is refused` }]
        : [],
    );
    if (found.length > 0) await write.onRefused(found);
    const late = all.flatMap((id, row) => (this.moved(id) && !write.refused.has(row) && !this.inserts.has(key) ? [row] : []));
    if (late.length > 0) await write.onDiverted?.(late);
    const ids = all.filter((_, row) => !write.refused.has(row));
    const fault = this.nextFault();
    const earlier = this.inserts.get(key);
    if (earlier !== undefined) {
      if (!write.mayHaveRun) throw new Error(`insert ${key} is repeated without a warning`);
      if (JSON.stringify(earlier) !== JSON.stringify(ids)) throw new Error(`insert ${key} came with other rows`);
    } else if (fault === undefined || fault.effect) {
      this.inserts.set(key, ids);
      this.effects.set(key, { ...write, refused: new Set(write.refused) });
    }
    if (fault !== undefined) throw new SinkError(fault.failure, 'a fault on demand');
  }

  /** As PostgreSQL (`none`) and ClickHouse (`day`) tell it. */
  async recall(walId: WalId, schemas: readonly TableSchema[]): Promise<Recall> {
    const tables = new Map<TableName, LastInsert>();
    for (const { id, batch, refused } of this.effects.values()) {
      if (id.walId !== walId || !schemas.some(({ table }) => table === id.table)) continue;
      const before = tables.get(id.table);
      if (before !== undefined && before.fromLsn > id.lsn) continue;
      const rows = new Map(before?.fromLsn === id.lsn ? before.rows : []);
      const stored = batch.numRows - refused.size;
      if (this.partitioning === 'none' || stored > 0) rows.set(id.partition, stored);
      const toLsn = this.partitioning === 'none' ? id.lastLsn : undefined;
      if (rows.size > 0) tables.set(id.table, { fromLsn: id.lsn, toLsn, rows });
    }
    return { below: lsn(1), tables };
  }

  async ping(): Promise<void> {
    if (!this.up) throw new SinkError('retry', 'the store is down');
  }

  async stop(): Promise<void> {}

  /** All delivered values of column `id`, sorted. */
  get ids(): number[] {
    return [...this.inserts.values()].flat().sort((a, b) => a - b);
  }
}
