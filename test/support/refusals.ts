import type { RefusedRow, SinkWrite } from '../../src/core/sink';

/** For writes of which no row may be refused. */
export const NOTHING_REFUSED: Pick<SinkWrite, 'refused' | 'onRefused'> = {
  refused: new Set(),
  onRefused: async ([row]) => {
    throw new Error(`row ${row?.row} was refused: ${row?.message}`);
  },
};

/** Keeps what is refused, as the dead letters do. */
export class Refusals {
  readonly refused = new Set<number>();
  readonly rows: RefusedRow[] = [];

  readonly onRefused = async (rows: readonly RefusedRow[]): Promise<void> => {
    for (const row of rows) {
      if (this.refused.has(row.row)) throw new Error(`row ${row.row} is refused twice`);
      this.refused.add(row.row);
      this.rows.push(row);
    }
  };
}
