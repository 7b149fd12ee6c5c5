/**
 * A client of Thermocline: gathers rows into batches, sends them to `thermocline.ingest.v1.IngestService`, and repeats what failed for
 * a time, each batch under one idempotency key, so that its rows are stored once. See docs/client.md.
 *
 * Guarantees: a `write` resolves only after the server has acknowledged its rows; rows of one table are sent in the order of the
 * writes, but several requests are under way at once. Not guaranteed: anything about rows whose `write` has not resolved.
 */
import type { ChannelCredentials } from '@grpc/grpc-js';
import { RecordBatch, Table, tableToIPC } from 'apache-arrow';
import { Writer } from 'protobufjs/minimal';
import { type Row, RowBatch, WriteCall, type WriteResult } from './batch';
import { type Columns, tableOfColumns } from './columns';
import { checkValue } from './encode-value';
import { type Rejection, ThermoclineError } from './errors';
import { ACK_LEVELS, Transport } from './transport';

export type { Row, WriteResult } from './batch';
export type { Columns, ColumnValues } from './columns';
export { Decimal, Json, type RowValue, Timestamp } from './encode-value';
export { type Rejection, type StatusName, ThermoclineError } from './errors';

export interface ClientOptions {
  /** `host:port` of the server's gRPC port. */
  readonly address: string;
  /** Default: a connection in the clear. */
  readonly credentials?: ChannelCredentials;
  /** When to answer: `wal` (default) durable in the server's log, `hot`, `cold`, `all` in those stores. */
  readonly ackLevel?: keyof typeof ACK_LEVELS;
  /** A batch is sent when one of these is reached. */
  readonly batching?: { readonly rowsMax?: number; readonly bytesMax?: number; readonly intervalMs?: number };
  /** `backoffMs`: the first pause at most; it doubles with each attempt up to `backoffMsMax`. */
  readonly retry?: { readonly attemptsMax?: number; readonly backoffMs?: number; readonly backoffMsMax?: number };
  /** Bytes of rows that are gathered or under way; above, writes wait. */
  readonly bufferBytesMax?: number;
  /** Requests under way at once. */
  readonly requestsMax?: number;
  /** Writes that wait for room at once; more are refused with RESOURCE_EXHAUSTED. */
  readonly waitingMax?: number;
  /** Of one attempt. */
  readonly timeoutMs?: number;
}

/** Columnar data: an apache-arrow table or record batch, or an Arrow IPC stream. Sent as a request of its own. */
export type ArrowData = Table | RecordBatch | Uint8Array;

export interface ColumnDefinition {
  readonly name: string;
  /** timestamp, string, json, int64, float64, ... or a usual name of SQL or Arrow. */
  readonly type: string;
  readonly required?: boolean;
  readonly lowCardinality?: boolean;
  /** What happens to values that do not fit; without one what is in force stays, `widen` at first. */
  readonly conflictPolicy?: 'widen' | 'coerce' | 'side_column' | 'dead_letter';
}

export interface TableOptions {
  readonly timeColumn?: string;
  readonly tier?: 'hot' | 'cold';
  /** May rows change the table? Without one what is in force stays, `evolve` at first. */
  readonly policy?: 'evolve' | 'strict' | 'freeze';
  readonly dryRun?: boolean;
}

export interface ColumnInfo extends Required<Omit<ColumnDefinition, 'conflictPolicy'>> {
  /** CONFLICT_POLICY_WIDEN, ... */
  readonly conflictPolicy: string;
  /** '' where the stores have the column's own name. */
  readonly storeName: string;
  /** The column of which this one keeps the exact integers, or ''. */
  readonly exactOf: string;
}

export interface TableDefinition {
  readonly name: string;
  readonly version: number;
  readonly columns: readonly ColumnInfo[];
  readonly timeColumn: string;
  /** TIER_HOT or TIER_COLD. */
  readonly tier: string;
  /** TABLE_POLICY_EVOLVE, ... */
  readonly policy: string;
}

/** The table in one store. */
export interface StorePlan {
  /** TIER_HOT or TIER_COLD. */
  readonly tier: string;
  readonly columns: readonly { readonly column: string; readonly storeColumn: string; readonly storeType: string }[];
  /** Statements that would make or change it, in order. */
  readonly statements: readonly string[];
}

/** What a write would do. */
export interface DryRunResult {
  readonly acceptedRows: number;
  readonly rejectedRows: number;
  readonly rejections: readonly Rejection[];
  readonly deadLetterRows: number;
  /** The schema in force; null without such a table. */
  readonly current: TableDefinition | null;
  /** The schema that the rows need; null when they need none. */
  readonly after: TableDefinition | null;
  /** `typeBefore` is '' for a column that is added. */
  readonly changes: readonly { readonly column: string; readonly typeBefore: string; readonly type: string }[];
  readonly tiers: readonly string[];
  readonly stores: readonly StorePlan[];
}

type DryRunAnswer = Pick<DryRunResult, 'acceptedRows' | 'rejectedRows' | 'rejections' | 'deadLetterRows'> & {
  readonly dryRun: Pick<DryRunResult, 'current' | 'after' | 'changes' | 'tiers' | 'stores'>;
};

interface Request {
  readonly table: string;
  readonly data: Uint8Array;
  readonly sizeBytes: number;
  readonly batch: Pick<RowBatch, 'answered' | 'failed'>;
}

interface OpenBatch {
  readonly batch: RowBatch;
  readonly timer: NodeJS.Timeout;
}

const DEFAULTS = {
  rowsMax: 5_000,
  bytesMax: 1024 * 1024,
  intervalMs: 100,
  attemptsMax: 10,
  backoffMs: 100,
  backoffMsMax: 10_000,
  bufferBytesMax: 64 * 1024 * 1024,
  requestsMax: 4,
  waitingMax: 10_000,
  timeoutMs: 60_000,
};

export class ThermoclineClient {
  private readonly limits: typeof DEFAULTS;
  private readonly ackLevel: keyof typeof ACK_LEVELS;
  private readonly transport: Transport;
  private readonly open = new Map<string, OpenBatch>();
  private readonly queue: Request[] = [];
  private readonly outstanding = new Set<Promise<unknown>>();
  /** Writes, and callers of `room`, that wait. */
  private readonly waiting: (() => void)[] = [];
  private bufferedBytes = 0;
  private underWay = 0;
  private closing: Promise<void> | undefined;

  constructor(options: ClientOptions) {
    const { address, batching, retry, ackLevel = 'wal', credentials, ...rest } = options;
    this.limits = { ...DEFAULTS, ...rest, ...batching, ...retry };
    for (const [name, value] of Object.entries(this.limits)) {
      if (!(value > 0)) throw new RangeError(`${name} must be above 0`);
    }
    if (!(ackLevel in ACK_LEVELS)) throw new RangeError(`ackLevel must be one of ${Object.keys(ACK_LEVELS).join(', ')}`);
    this.ackLevel = ackLevel;
    this.transport = new Transport({ address, credentials, ...this.limits });
  }

  /**
   * Resolves when the rows are acknowledged; rows that were refused are listed in the result. Rejects with ThermoclineError when no
   * row was accepted or the attempts are used up, with TypeError or RangeError for a value that no column can hold.
   */
  write(table: string, rows: Row | readonly Row[] | ArrowData): Promise<WriteResult> {
    if (this.closing !== undefined) return Promise.reject(closed());
    if (this.waiting.length >= this.limits.waitingMax) {
      return Promise.reject(new ThermoclineError('RESOURCE_EXHAUSTED', 'too many writes wait for room', { retryable: true }));
    }
    const result = this.hasRoom() ? this.take(table, rows) : this.whenRoom(() => this.take(table, rows));
    this.outstanding.add(result);
    // What is given out is a promise of its own, so that a failure nobody asks for does not go unnoticed.
    return result.finally(() => this.outstanding.delete(result));
  }

  /**
   * The same for columns: typed arrays, or arrays of values of one kind. They are sent as Arrow, as a request of their own, under one
   * idempotency key for all attempts. Rejects with TypeError or RangeError for columns that cannot be sent.
   */
  async writeColumns(table: string, columns: Columns): Promise<WriteResult> {
    return this.write(table, tableOfColumns(columns));
  }

  /**
   * What a write of these rows would do: the table before and after it, its form and statements in both stores, the rows that would be
   * refused. Nothing is stored. Throws ThermoclineError, TypeError and RangeError as `write`.
   */
  async dryRun(table: string, rows: Row | readonly Row[] | ArrowData): Promise<DryRunResult> {
    if (this.closing !== undefined) throw closed();
    const answer = await this.transport.dryRun(table, isArrow(rows) ? arrowMessage(rows) : rowsMessage(checkedRows(rows)));
    const { acceptedRows, rejectedRows, rejections, deadLetterRows, dryRun } = answer as DryRunAnswer;
    return { acceptedRows, rejectedRows, rejections, deadLetterRows, ...dryRun };
  }

  /** Resolves when a write would not have to wait: the way to go easy on memory without waiting for each acknowledgement. */
  room(): Promise<void> {
    return this.hasRoom() ? Promise.resolve() : this.whenRoom(() => Promise.resolve());
  }

  /** Sends what is gathered, and resolves when every write so far is settled. Failures are told by the writes. */
  async flush(): Promise<void> {
    for (const table of this.open.keys()) this.send(table);
    await Promise.allSettled(this.outstanding);
  }

  /**
   * Takes no more rows, and resolves when those it has are settled. After `timeoutMs` it gives up: open writes reject with
   * CANCELLED. May be called again.
   */
  close({ timeoutMs }: { timeoutMs?: number } = {}): Promise<void> {
    this.closing ??= this.finish();
    if (timeoutMs === undefined) return this.closing;
    const timer = setTimeout(() => this.transport.close(), timeoutMs);
    return this.closing.finally(() => clearTimeout(timer));
  }

  /** Makes a table, adds columns to it or sets its policies; with `dryRun` it only tells what the table would be. Throws ThermoclineError. */
  async registerTable(table: string, columns: readonly ColumnDefinition[], options: TableOptions = {}): Promise<TableDefinition> {
    const { timeColumn = '', tier, policy, dryRun = false } = options;
    const request = {
      table,
      columns: columns.map((column) => ({ ...column, conflictPolicy: enumName('CONFLICT_POLICY', column.conflictPolicy) })),
      timeColumn,
      tier: enumName('TIER', tier),
      policy: enumName('TABLE_POLICY', policy),
      dryRun,
    };
    return ((await this.transport.call('RegisterTable', request)) as { table: TableDefinition }).table;
  }

  /** Throws ThermoclineError, NOT_FOUND without such a table. */
  async getTable(table: string): Promise<TableDefinition> {
    return ((await this.transport.call('GetTable', { table })) as { table: TableDefinition }).table;
  }

  async listTables(): Promise<readonly TableDefinition[]> {
    return ((await this.transport.call('ListTables', {})) as { tables: TableDefinition[] }).tables;
  }

  /** Is the batch in the stores yet? By tier. Throws ThermoclineError, NOT_FOUND for a batch that the server does not know. */
  async batchStatus(batchId: string): Promise<{ readonly tier: string; readonly delivered: boolean }[]> {
    const answer = (await this.transport.call('GetBatch', { batchId })) as { tiers: { tier: string; state: string }[] };
    return answer.tiers.map(({ tier, state }) => ({ tier, delivered: state === 'BATCH_STATE_DELIVERED' }));
  }

  private async finish(): Promise<void> {
    while (this.outstanding.size > 0) await this.flush();
    this.transport.close();
  }

  private hasRoom(): boolean {
    return this.waiting.length === 0 && this.bufferedBytes < this.limits.bufferBytesMax;
  }

  private whenRoom<T>(then: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.waiting.push(() => {
        then().then(resolve, reject);
      });
    });
  }

  /** Takes all of the rows or, when one of them cannot be stored, none. */
  private async take(table: string, rows: Row | readonly Row[] | ArrowData): Promise<WriteResult> {
    if (isArrow(rows)) return this.takeArrow(table, rows);
    const list = checkedRows(rows);
    const call = new WriteCall(list.length);
    for (const [i, row] of list.entries()) this.add(table, row, call, i);
    call.close();
    return call.result;
  }

  private add(table: string, row: Row, call: WriteCall, position: number): void {
    const { rowsMax, bytesMax, intervalMs } = this.limits;
    let open = this.open.get(table);
    if (open === undefined) {
      open = { batch: new RowBatch(), timer: setTimeout(() => this.send(table), intervalMs) };
      this.open.set(table, open);
    }
    const { batch } = open;
    const before = batch.sizeBytes;
    batch.add(row, call, position);
    this.bufferedBytes += batch.sizeBytes - before;
    if (batch.rows >= rowsMax || batch.sizeBytes >= bytesMax || batch.isFull) this.send(table);
  }

  private takeArrow(table: string, data: ArrowData): Promise<WriteResult> {
    // Rows of the table before it go first.
    this.send(table);
    const call = new WriteCall(data instanceof Uint8Array ? 0 : data.numRows);
    call.join();
    call.close();
    const message = arrowMessage(data);
    this.bufferedBytes += message.length;
    this.queue.push({
      table,
      data: message,
      sizeBytes: message.length,
      batch: {
        answered: ({ batchId, rejectedRows, rejections, deadLetterRows }) => {
          if (batchId === undefined) {
            const why = rejections[0] === undefined ? '' : `: ${rejections[0].message}`;
            call.failed(new ThermoclineError('INVALID_ARGUMENT', `no row was accepted${why}`, { rejections }));
            return;
          }
          const moreRejected = rejectedRows > rejections.length;
          call.answered({ batchId, rejections: [...rejections], refusedRows: 0, moreRejected, deadLetterRows });
        },
        failed: (error) => call.failed(error),
      },
    });
    this.pump();
    return call.result;
  }

  /** Closes the table's batch and queues it. */
  private send(table: string): void {
    const open = this.open.get(table);
    if (open === undefined) return;
    clearTimeout(open.timer);
    this.open.delete(table);
    const { batch } = open;
    this.queue.push({ table, data: batch.message(), sizeBytes: batch.sizeBytes, batch });
    this.pump();
  }

  private pump(): void {
    while (this.underWay < this.limits.requestsMax) {
      const request = this.queue.shift();
      if (request === undefined) return;
      this.underWay++;
      void this.request(request);
    }
  }

  /** Never rejects. */
  private async request({ table, data, sizeBytes, batch }: Request): Promise<void> {
    try {
      batch.answered(await this.transport.write(table, data, this.ackLevel));
    } catch (error) {
      const known =
        error instanceof ThermoclineError ? error : new ThermoclineError('INTERNAL', 'the client failed', { cause: error });
      batch.failed(known);
    }
    this.underWay--;
    this.bufferedBytes -= sizeBytes;
    this.pump();
    while (this.waiting.length > 0 && this.bufferedBytes < this.limits.bufferBytesMax) this.waiting.shift()?.();
  }
}

const isArrow = (rows: Row | readonly Row[] | ArrowData): rows is ArrowData =>
  rows instanceof Uint8Array || rows instanceof Table || rows instanceof RecordBatch;

/** Throws TypeError or RangeError for a value that no column can hold. */
function checkedRows(rows: Row | readonly Row[]): readonly Row[] {
  const list = (Array.isArray(rows) ? rows : [rows]) as readonly Row[];
  for (const row of list) for (const value of Object.values(row)) checkValue(value);
  return list;
}

/** The field `arrow_stream` of a `WriteRequest`. */
function arrowMessage(data: ArrowData): Uint8Array {
  const bytes = data instanceof Uint8Array ? data : tableToIPC(data instanceof Table ? data : new Table(data), 'stream');
  return Writer.create().uint32(0x12).bytes(bytes).finish();
}

function rowsMessage(rows: readonly Row[]): Uint8Array {
  const batch = new RowBatch();
  const call = new WriteCall(rows.length);
  for (const [i, row] of rows.entries()) batch.add(row, call, i);
  return batch.message();
}

/** Value of an enum in ingest.proto. */
const enumName = (prefix: string, value = 'unspecified'): string => `${prefix}_${value.toUpperCase()}`;

const closed = (): ThermoclineError => new ThermoclineError('CANCELLED', 'the client is closed');
