/**
 * Rows of a request that are to become dead letters, as a batch of its WAL entry: durable together with the rows that fit, and
 * under the same idempotency key. The batch is named `_parked/<table>`, which no table can be (core/ids.ts), and routed to no tier,
 * so no sink takes it; a reader of its own moves it to the dead letters. Its bytes are a head (headed-ipc.ts) with the reasons,
 * then the rows.
 */
import type { UnfitReason, UnfitRows } from '../core/batch';
import type { TableName } from '../core/ids';
import type { WalBatch } from '../core/wal';
import { splitHead, withHead } from './headed-ipc';
import { encodeIpc } from './ipc';

const PREFIX = '_parked/';
const FORMAT = 1;

/** As `UnfitRows`, the rows still as an Arrow IPC stream. */
export interface StoredUnfitRows extends Omit<UnfitRows, 'batch'> {
  readonly ipc: Uint8Array;
}

interface Head {
  readonly format: number;
  readonly reasons: readonly UnfitReason[];
  readonly jsonColumns: readonly string[];
  readonly wholeRows?: boolean;
}

/** The table of a batch of parked rows; undefined for any other batch. */
export const parkedTable = ({ table }: WalBatch): TableName | undefined =>
  table.startsWith(PREFIX) ? (table.slice(PREFIX.length) as TableName) : undefined;

export function encodeParked({ table, schemaVersion, batch, reasons, jsonColumns, wholeRows }: UnfitRows): WalBatch {
  const head: Head = { format: FORMAT, reasons, jsonColumns, ...(wholeRows === true ? { wholeRows } : {}) };
  const ipc = withHead(head, encodeIpc(batch));
  return { table: `${PREFIX}${table}` as TableName, schemaVersion, tiers: [], rows: batch.numRows, ipc };
}

/** Throws for a batch of another kind or format. */
export function decodeParked(batch: WalBatch): StoredUnfitRows {
  const table = parkedTable(batch);
  if (table === undefined) throw new Error(`${batch.table} is no batch of parked rows`);
  const { head, ipc } = splitHead(batch.ipc);
  const { format, reasons, jsonColumns, wholeRows } = head as Head;
  if (format !== FORMAT) throw new Error(`parked rows have format ${format}, this version reads ${FORMAT}`);
  return { table, schemaVersion: batch.schemaVersion, reasons, jsonColumns, ...(wholeRows === true ? { wholeRows } : {}), ipc };
}
