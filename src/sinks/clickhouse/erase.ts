import type { TableName } from '../../core/ids';
import type { RowEraser } from '../../core/row-eraser';
import { SinkError } from '../../core/sink';
import type { Tier } from '../../core/table-schema';
import { Connection } from './connection';
import { parseLocation } from './location';
import { qualified } from './sql';

const TIMEOUT_MS = 30_000;

/** TRUNCATE on a connection of its own. On a cluster it empties the replicas of the table, not its other shards. */
export class ClickHouseEraser implements RowEraser {
  readonly tier: Tier = 'cold';

  /** Throws TypeError for a bad URL. */
  constructor(private readonly url: string) {}

  async erase(table: TableName): Promise<void> {
    const location = parseLocation(this.url);
    const connection = new Connection({ location, queryTimeoutMs: TIMEOUT_MS, connectionsMax: 1 });
    try {
      await connection.command(`TRUNCATE TABLE IF EXISTS ${qualified(location.database, table)}`);
    } catch (error) {
      throw new SinkError('retry', `emptying ${table}`, { cause: error });
    } finally {
      await connection.close();
    }
  }
}
