/** Rows that a sink refused, cut out of their write with what is known of each: what the dead letters keep. */
import { DataType, type RecordBatch } from 'apache-arrow';
import { arrowType, typeText } from '../columnar/arrow-type';
import { concatRows } from '../columnar/concat';
import { cutRows } from '../columnar/cut';
import { recordBatch } from '../columnar/record-batch';
import type { ParkedRow, ParkedRows } from '../core/dead-letter';
import type { RefusedRow, WriteIdentity } from '../core/sink';
import type { TableSchema, Tier } from '../core/table-schema';
import { type PartPiece, type PartRows, rowsIn } from './plan';

/** Rows of a part that stand one after the other in a batch; the first is row `start` of the part. */
export interface RowSource {
  readonly batch: RecordBatch;
  readonly start: number;
}

/** `part` is what the write was made of, `source` where the rows are cut from. The rows may come in any order. */
export function parkedRows(
  tier: Tier,
  id: WriteIdentity,
  part: PartRows,
  { batch, start }: RowSource,
  refused: readonly RefusedRow[],
): ParkedRows {
  const sorted = [...refused].sort((a, b) => a.row - b.row);
  const pieceOf = pieceFinder(part.pieces);
  const rows = sorted.map(({ row, stage, ...reason }): ParkedRow => {
    const { lsn, schemaVersion } = pieceOf(row);
    return { row, lsn, schemaVersion, stage: stage === 'schema' ? 'schema' : `${tier}_insert`, ...reason };
  });
  const positions = sorted.map(({ row }) => row - start);
  return { tier, id, rows, batch: cutRows(batch, positions) };
}

/** Which piece a row of the part comes from, for rows asked in ascending order. */
function pieceFinder(pieces: readonly PartPiece[]): (row: number) => PartPiece {
  let at = 0;
  let end = pieces.length > 0 ? rowsIn(pieces[0]) : 0;
  return (row) => {
    while (row >= end && at + 1 < pieces.length) end += rowsIn(pieces[++at]);
    if (row >= end) throw new RangeError(`row ${row} is not in a write of ${end} rows`);
    return pieces[at];
  };
}

/** A part of which some batches cannot be joined with the others. */
export interface Separated {
  /** Batches that do not fit have rows without values here, so that rows keep their positions. */
  readonly part: PartRows;
  readonly unfit: readonly { readonly source: RowSource; readonly refused: readonly RefusedRow[] }[];
}

/**
 * Where batches of a part have one column in different types, those that do not have the schema's are refused: joined with the others
 * they would cost these. A part of one type only is left as it is: the sink knows what it can take.
 */
export function separateUnfit(part: PartRows, schema: TableSchema): Separated {
  const mixed = new Set<string>();
  const seen = new Map<string, string>();
  for (const { batch } of part.pieces) {
    for (const { name, type } of batch.schema.fields) {
      const text = plainText(type);
      if ((seen.get(name) ?? text) !== text) mixed.add(name);
      seen.set(name, text);
    }
  }
  if (mixed.size === 0) return { part, unfit: [] };
  const wanted = new Map(schema.columns.map(({ name, type }) => [name, plainText(arrowType(type))]));
  const found: Separated['unfit'][number][] = [];
  let next = 0;
  const pieces = part.pieces.map((piece) => {
    const rows = rowsIn(piece);
    const start = next;
    next += rows;
    const unfit = piece.batch.schema.fields.find(({ name, type }) => mixed.has(name) && wanted.get(name) !== plainText(type));
    if (unfit === undefined) return piece;
    const { name: column, type } = unfit;
    const message = `column ${column} holds ${plainText(type)}, expected ${wanted.get(column) ?? 'no such column'}`;
    const refused = Array.from({ length: rows }, (_, i) => ({
      row: start + i,
      stage: 'schema' as const,
      code: 'type_mismatch',
      column,
      message,
    }));
    found.push({ source: { batch: concatRows([piece]), start }, refused });
    return { ...piece, batch: recordBatch([]), runs: Int32Array.of(0, rows) };
  });
  return { part: { ...part, pieces }, unfit: found };
}

const plainText = (type: DataType): string => typeText(DataType.isDictionary(type) ? type.dictionary : type);
