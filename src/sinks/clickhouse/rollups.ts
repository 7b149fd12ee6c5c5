/** Roll-ups in the store: see rollup-ddl.ts for their form. */
import { randomBytes } from 'node:crypto';
import { literal, qualified } from '../../core/clickhouse-sql';
import { storeForm } from '../../core/column-name';
import type { DayCare, Rollup, RollupStore } from '../../core/rollup';
import { SinkError } from '../../core/sink';
import type { Logger } from '../../telemetry';
import { onCluster } from './cluster';
import { Connection } from './connection';
import { ttlChange } from './ddl';
import type { DdlOptions } from './ddl-options';
import { toSinkError } from './errors';
import { parseLocation } from './location';
import {
  addMeasures,
  builtDays,
  createRollup,
  createRollupState,
  insertDay,
  ROLLUP_STATE,
  type RollupColumns,
  rollupSelect,
  rollupTable,
  rollupTtl,
  rollupView,
  sourceDays,
  statesSelect,
  statesView,
} from './rollup-ddl';
import { Tables } from './tables';

/** What of a day's rows is known without reading them. */
interface DayVersion {
  readonly day: string;
  readonly block: string;
  readonly version: string;
}

/** Stands for the blocks of a day that has no rows any more. */
const NO_BLOCK = '-1';
const NO_CARE: DayCare = { hidden: [], isBusy: () => Promise.resolve(false) };

/** A day of many rows is read and grouped. */
const BUILD_TIMEOUT_MS = 30 * 60_000;
/** Above this a group-by goes on on disk. */
const GROUP_BYTES_MAX = 1024 * 1024 * 1024;

/** Left by a process that ended while it was building. */
const LEFTOVER_AGE_SECONDS = (2 * BUILD_TIMEOUT_MS) / 1_000;
const QUERY_TIMEOUT_MS = 30_000;
const CONNECTIONS_MAX = 2;

export interface ClickHouseRollupsOptions extends Omit<DdlOptions, 'database'> {
  /** See location.ts. */
  readonly url: string;
  readonly logger: Logger;
}

/** On connections of its own. */
export class ClickHouseRollups implements RollupStore {
  private readonly connection: Connection;
  private readonly ddl: DdlOptions;
  private readonly tables: Tables;

  /** Throws TypeError for a bad URL. */
  constructor({ url, logger, ...options }: ClickHouseRollupsOptions) {
    const location = parseLocation(url);
    this.connection = new Connection({ location, queryTimeoutMs: QUERY_TIMEOUT_MS, connectionsMax: CONNECTIONS_MAX });
    this.ddl = { database: location.database, ...options };
    this.tables = new Tables(this.connection, this.ddl, logger);
  }

  close(): Promise<void> {
    return this.connection.close();
  }

  ensureRollup(rollup: Rollup): Promise<void> {
    return attempt(() => this.ensure(inStore(rollup)));
  }

  staleDays(rollup: Rollup, returned: ReadonlySet<string>): Promise<readonly string[]> {
    return attempt(() => this.stale(inStore(rollup), returned));
  }

  buildDay(rollup: Rollup, day: string, care: DayCare = NO_CARE): Promise<void> {
    return attempt(() => this.build(inStore(rollup), day, care));
  }

  private async ensure(rollup: Rollup): Promise<void> {
    const { connection, tables, ddl } = this;
    const name = rollupTable(rollup);
    await connection.command(createRollupState(ddl));
    await connection.command(createRollup(rollup, ddl));
    const before = await tables.describe(name);
    const present = new Set(before?.columns.map(([column]) => column));
    const alter = `ALTER TABLE ${qualified(ddl.database, name)}${onCluster(ddl)}`;
    const changes = addMeasures(rollup, present);
    if (changes.length > 0) await connection.command(`${alter} ${changes.join(', ')}`);
    const ttl = ttlChange(before?.engine_full ?? '', rollupTtl(rollup));
    // What is too old goes with the next merges: the statement does not wait for it.
    if (ttl !== undefined) await connection.command(`${alter} ${ttl} SETTINGS materialize_ttl_after_modify = 0`);
    const columns = await this.columnsOf(rollup);
    await tables.ensureView(statesView(rollup), statesSelect(rollup, ddl, columns));
    await tables.ensureView(rollupView(rollup), rollupSelect(rollup, ddl, columns));
    await this.dropLeftovers(rollup);
  }

  /** The dimensions that the table has. */
  private async columnsOf(rollup: Rollup): Promise<RollupColumns> {
    const rows = await this.connection.rows<{ name: string }>(
      `SELECT name FROM system.columns WHERE is_in_sorting_key AND database = ${literal(this.ddl.database)} ` +
        `AND table = ${literal(rollupTable(rollup))}`,
    );
    return { dimensions: rows.map(({ name }) => name).filter((name) => name !== 'bucket') };
  }

  private async stale(rollup: Rollup, returned: ReadonlySet<string>): Promise<readonly string[]> {
    const { connection, ddl } = this;
    const [source, built] = await Promise.all([
      connection.rows<DayVersion>(sourceDays(rollup, ddl)),
      connection.rows<DayVersion>(builtDays(rollup, ddl)),
    ]);
    const known = new Map(built.map((row) => [row.day, row]));
    const isStale = ({ day, block, version }: DayVersion): boolean =>
      known.get(day)?.block !== block || known.get(day)?.version !== version;
    const present = new Set(source.map(({ day }) => day));
    const emptied = built.filter(({ day, block }) => returned.has(day) && !present.has(day) && block !== NO_BLOCK);
    return [...source.filter(isStale), ...emptied].map(({ day }) => day).sort();
  }

  private async build(rollup: Rollup, day: string, { hidden, isBusy }: DayCare): Promise<void> {
    const { connection, ddl } = this;
    // Rows that come while the day is built make it stale again.
    const source = (await connection.rows<DayVersion>(sourceDays(rollup, ddl))).find((row) => row.day === day);
    const building = `${rollupTable(rollup)}_${randomBytes(6).toString('hex')}`;
    const columns = await this.columnsOf(rollup);
    try {
      await connection.command(createRollup(rollup, ddl, { building, stored: columns }));
      await connection.command(insertDay(rollup, ddl, { day, building, stored: columns, hidden }), {
        timeoutMs: BUILD_TIMEOUT_MS,
        settings: { max_bytes_before_external_group_by: String(GROUP_BYTES_MAX), async_insert: 0 },
      });
      // Rows that do not count yet may have been among those that were read.
      if (await isBusy()) return;
      await this.putInPlace(rollup, day, building);
      await this.remember(rollup, day, source);
    } finally {
      await connection.command(`DROP TABLE IF EXISTS ${qualified(ddl.database, building)} SYNC`);
    }
  }

  /** ClickHouse (26 and newer) refuses to put nothing in the place of a partition. */
  private async putInPlace(rollup: Rollup, day: string, building: string): Promise<void> {
    const { connection, ddl } = this;
    const source = qualified(ddl.database, building);
    const [found] = await connection.rows<{ n: string }>(`SELECT count() AS n FROM ${source}`);
    const change = found?.n === '0' ? `DROP PARTITION ${Number(day)}` : `REPLACE PARTITION ${Number(day)} FROM ${source}`;
    await connection.command(`ALTER TABLE ${qualified(ddl.database, rollupTable(rollup))} ${change}`);
  }

  private async remember(rollup: Rollup, day: string, source: DayVersion | undefined): Promise<void> {
    const { block, version } = source ?? { block: NO_BLOCK, version: '0' };
    const row = [literal(rollupTable(rollup)), literal(day), block, version, 'now64(3)'].join(', ');
    const table = qualified(this.ddl.database, ROLLUP_STATE);
    await this.connection.command(`INSERT INTO ${table} (rollup, day, block, version, built_at) SELECT ${row}`);
  }

  private async dropLeftovers(rollup: Rollup): Promise<void> {
    const { connection, ddl } = this;
    const rows = await connection.rows<{ name: string }>(
      `SELECT name FROM system.tables WHERE database = ${literal(ddl.database)} ` +
        `AND match(name, ${literal(`^${rollupTable(rollup)}_[0-9a-f]{12}$`)}) ` +
        `AND metadata_modification_time < now() - ${LEFTOVER_AGE_SECONDS}`,
    );
    for (const { name } of rows) await connection.command(`DROP TABLE IF EXISTS ${qualified(ddl.database, name)} SYNC`);
  }
}

const inStore = (rollup: Rollup): Rollup => ({ ...rollup, source: storeForm(rollup.source) });

async function attempt<T>(action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof RangeError) throw new SinkError('broken', error.message, { cause: error });
    throw toSinkError(error);
  }
}
