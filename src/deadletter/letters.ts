import type { RecordBatch } from 'apache-arrow';
import { cutRows } from '../columnar/cut';
import { decodeIpc, encodeIpc } from '../columnar/ipc';
import type { DeadLetter, DeadLetterFilter, DeadLetterView } from '../core/dead-letter';
import type { Letters } from './format';
import { type Group, letterId } from './groups';
import { rowJson } from './row-json';

/** What the head of a row takes besides its message, about. */
export const HEAD_ROW_BYTES = 120;

/** May a group hold letters of the filter? */
export const matches = ({ tier, write, codes }: Group, filter: DeadLetterFilter): boolean =>
  (filter.tier === undefined || filter.tier === (tier ?? 'none')) &&
  (filter.table === undefined || filter.table === write.table) &&
  (filter.code === undefined || codes.includes(filter.code));

/** Rows of the group that are kept and have the code of the filter; `content` may be missing when all have it. */
export function keptRows(group: Group, content: Letters | undefined, { code }: DeadLetterFilter): number[] {
  const rows: number[] = [];
  for (let row = 0; row < group.rows; row++) {
    if (group.gone.has(row)) continue;
    if (code === undefined || content === undefined || content.head.rows[row].code === code) rows.push(row);
  }
  return rows;
}

export function letterOf(group: Group, content: Letters, row: number): DeadLetter {
  const batch: RecordBatch = cutRows(decodeIpc(content.ipc), [row]);
  return { ...reasonOf(group, content, row), row: encodeIpc(batch), json: rowJson(batch, 0) };
}

/** The kept letters of a group. */
export function viewsOf(group: Group, content: Letters): DeadLetterView[] {
  const batch = decodeIpc(content.ipc);
  return keptRows(group, undefined, {}).map((row) => ({ ...reasonOf(group, content, row), json: rowJson(batch, row) }));
}

function reasonOf(group: Group, { head }: Letters, row: number): Omit<DeadLetterView, 'json'> {
  const { row: _position, ...reason } = head.rows[row];
  return { id: letterId(group.id, row), table: group.write.table, tier: head.tier, atMs: head.atMs, ...reason };
}
