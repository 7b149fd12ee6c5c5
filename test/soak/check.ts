/** Where every row is at the end: in its store, among the dead letters, in both, or nowhere. */
import type { TestServer } from '../support/server';
import type { RowCounts, RowIds } from './row-ids';
import type { SoakStores } from './stores';
import type { SoakTable } from './tables';

export interface TableResult extends RowCounts {
  readonly table: string;
  readonly protocol: string;
  readonly tier: string;
  readonly ledger: 'balanced' | 'not balanced' | 'wrong';
}

export interface LedgerLine {
  readonly table: string;
  readonly tier: string;
  readonly accepted: number;
  readonly delivered: number;
  readonly dead_letters: number;
  readonly pending: number;
  readonly balanced: boolean;
}

interface Letter {
  readonly table: string;
  readonly row: Record<string, unknown>;
}

const PAGE = 1_000;

async function json<T>(server: TestServer, path: string): Promise<T> {
  const response = await fetch(`http://${server.admin}${path}`);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

/** Calls `each` with every dead letter that is kept. */
async function letters(server: TestServer, each: (letter: Letter) => void): Promise<void> {
  for (let after = ''; ; ) {
    const path = `/api/dead-letters?limit=${PAGE}${after}`;
    const answer = await json<{ dead_letters: Letter[]; next: string | null }>(server, path);
    for (const letter of answer.dead_letters) each(letter);
    if (answer.next === null) return;
    after = `&after=${answer.next}`;
  }
}

/** The stores must have everything that the server has (`drained`). */
export async function checkRows(
  server: TestServer,
  stores: SoakStores,
  ids: ReadonlyMap<SoakTable, RowIds>,
): Promise<TableResult[]> {
  for (const [{ table, tier, idSql }, rows] of ids) {
    const read = tier === 'hot' ? stores.hotValues.bind(stores) : stores.coldValues.bind(stores);
    await read(`SELECT ${idSql} FROM ${table}`, (text) => rows.foundStored(Number(text)));
  }
  const byName = new Map([...ids].map(([each, rows]) => [each.table, { each, rows }]));
  await letters(server, ({ table, row }) => {
    const found = byName.get(table);
    if (found === undefined) throw new Error(`a dead letter of ${table}`);
    found.rows.foundParked(found.each.idOf(row));
  });
  const { tables } = await json<{ tables: LedgerLine[] }>(server, '/api/ledger');
  return [...ids].map(([{ table, protocol, tier }, rows]) => {
    const counts = rows.counts();
    const line = tables.find((each) => each.table === table && each.tier === tier);
    return { table, protocol, tier, ...counts, ledger: ledgerVerdict(line, counts) };
  });
}

/** `wrong`: balanced in itself, and not what the stores hold. */
function ledgerVerdict(line: LedgerLine | undefined, { stored, parked }: RowCounts): TableResult['ledger'] {
  if (line === undefined) return stored + parked === 0 ? 'balanced' : 'wrong';
  if (!line.balanced) return 'not balanced';
  return line.delivered === stored && line.dead_letters === parked && line.pending === 0 ? 'balanced' : 'wrong';
}

/** Waits until nothing is on its way; false when that takes longer. */
export async function untilDrained(server: TestServer, timeoutMs: number): Promise<boolean> {
  try {
    await server.drained(timeoutMs);
    return true;
  } catch {
    return false;
  }
}
