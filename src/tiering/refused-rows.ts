/** Rows that a sink refused, cut out of their write with what is known of each: what the dead letters keep. */
import type { RecordBatch } from 'apache-arrow';
import { cutRows } from '../columnar/cut';
import type { ParkedRow, ParkedRows } from '../core/dead-letter';
import type { RefusedRow, WriteIdentity } from '../core/sink';
import type { Tier } from '../core/table-schema';
import { type PartPiece, type PartRows, rowsIn } from './plan';

/** `batch` is the write's batch, `part` what it was made of. The rows may come in any order. */
export function parkedRows(
  tier: Tier,
  id: WriteIdentity,
  part: PartRows,
  batch: RecordBatch,
  refused: readonly RefusedRow[],
): ParkedRows {
  const sorted = [...refused].sort((a, b) => a.row - b.row);
  const pieceOf = pieceFinder(part.pieces);
  const rows = sorted.map(({ row, stage, ...reason }): ParkedRow => {
    const { lsn, schemaVersion } = pieceOf(row);
    return { row, lsn, schemaVersion, stage: stage === 'schema' ? 'schema' : `${tier}_insert`, ...reason };
  });
  return {
    tier,
    id,
    rows,
    batch: cutRows(
      batch,
      sorted.map(({ row }) => row),
    ),
  };
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
