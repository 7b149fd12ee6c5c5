import { qualified } from '../../core/clickhouse-sql';
import type { TableName } from '../../core/ids';
import type { RowEraser } from '../../core/row-eraser';
import { SinkError } from '../../core/sink';
import type { Tier } from '../../core/table-schema';
import { localTable, onCluster } from './cluster';
import { Connection } from './connection';
import type { DdlOptions } from './ddl-options';
import { parseLocation } from './location';

const TIMEOUT_MS = 30_000;

/** TRUNCATE on a connection of its own, on every server of the cluster where there is one. */
export class ClickHouseEraser implements RowEraser {
  readonly tier: Tier = 'cold';

  /** Throws TypeError for a bad URL. */
  constructor(
    private readonly url: string,
    private readonly ddl: Omit<DdlOptions, 'database'> = {},
  ) {}

  async erase(table: TableName): Promise<void> {
    const location = parseLocation(this.url);
    const connection = new Connection({ location, queryTimeoutMs: TIMEOUT_MS, connectionsMax: 1 });
    try {
      const name = qualified(location.database, localTable(table, this.ddl));
      await connection.command(`TRUNCATE TABLE IF EXISTS ${name}${onCluster(this.ddl)}`);
    } catch (error) {
      throw new SinkError('retry', `emptying ${table}`, { cause: error });
    } finally {
      await connection.close();
    }
  }
}
