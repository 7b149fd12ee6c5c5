/** Stores, server and load together, from the first table to the count at the end. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomOf } from '../support/random';
import { checkRows, type TableResult, untilDrained } from './check';
import { Gateway } from './gateway';
import { Load } from './load';
import { SoakStores } from './stores';
import { SOAK_TABLES, type SoakTable } from './tables';

/** Small, so that faults meet the making and the end of segments. */
const SEGMENT_BYTES = 1024 * 1024;
const DRAIN_MS_MAX = 300_000;

export interface SoakOptions {
  readonly seed: number;
  /** Of all tables together. */
  readonly rowsPerSecond: number;
  readonly clientsPerTable?: number;
  readonly tables?: readonly SoakTable[];
  /** Of the server, beside those of every soak. */
  readonly settings?: Readonly<Record<string, string>>;
}

export class SoakRig {
  results: readonly TableResult[] = [];
  drainMs = 0;
  private drained = false;

  private constructor(
    private readonly directory: string,
    readonly stores: SoakStores,
    readonly gateway: Gateway,
    readonly load: Load,
  ) {}

  /** The server runs, its tables are there, and their stores refuse poison. */
  static async open(options: SoakOptions): Promise<SoakRig> {
    const { seed, rowsPerSecond, clientsPerTable = 4, tables = SOAK_TABLES } = options;
    const directory = await mkdtemp(join(tmpdir(), 'thermocline-soak-'));
    const stores = await SoakStores.start(join(directory, 'stores'), randomOf(seed * 31 + 7));
    const gateway = new Gateway(join(directory, 'data'), {
      ...stores.settings,
      DELIVERY_INTERVAL_MS: '50',
      SHUTDOWN_GRACE_MS: '8000',
      WAL_SEGMENT_BYTES: String(SEGMENT_BYTES),
      ...options.settings,
    });
    const load = new Load(gateway, tables, {
      random: randomOf(seed * 17 + 3),
      rowsPerSecond: rowsPerSecond / tables.length,
      clients: clientsPerTable,
    });
    const rig = new SoakRig(directory, stores, gateway, load);
    try {
      await gateway.start();
      await rig.prepare(tables);
    } catch (error) {
      await rig.close();
      throw error;
    }
    return rig;
  }

  /** Ends the load, waits until everything is delivered, and looks for every row. The server must run. */
  async finish(): Promise<void> {
    const { stores, gateway, load } = this;
    await load.stop();
    stores.heal();
    await stores.answers();
    const startedMs = performance.now();
    this.drained = await untilDrained(gateway.current, DRAIN_MS_MAX);
    this.drainMs = Math.round(performance.now() - startedMs);
    this.results = await checkRows(gateway.current, stores, load.ids);
    await gateway.stop('SIGTERM');
  }

  /** What is not as it must be, after `finish`. */
  problems(): string[] {
    const problems = this.results.flatMap(({ table, lost, duplicates, foreign, misplaced, ledger }) => [
      ...Object.entries({ lost, duplicates, foreign, misplaced }).flatMap(([name, count]) =>
        count === 0 ? [] : [`${table}: ${name} ${count}`],
      ),
      ...(ledger === 'balanced' ? [] : [`${table}: the ledger is ${ledger}`]),
    ]);
    if (!this.drained) problems.push(`not drained in ${DRAIN_MS_MAX} ms`);
    const examples = [...this.load.ids.values()].flatMap((ids) => ids.examples);
    return [...problems, ...examples, ...this.gateway.complaints];
  }

  /** Keeps the server's directory when something is wrong with it, and gives it. */
  async close(): Promise<string | undefined> {
    await this.gateway.close();
    await this.load.stop();
    await this.stores.stop();
    if (this.problems().length > 0) return join(this.directory, 'data');
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5 });
    return undefined;
  }

  private async prepare(tables: readonly SoakTable[]): Promise<void> {
    for (const { table, tier, columns } of tables) {
      if (columns === undefined) continue;
      const body = JSON.stringify({ table_name: table, tier, columns });
      const response = await this.gateway.current.post('/schema/register', body);
      if (!response.ok) throw new Error(`${table}: ${await response.text()}`);
    }
    for (const { table, tier, constraint } of tables) {
      if (constraint === undefined) continue;
      if (tier === 'hot') await this.stores.execute(`ALTER TABLE ${table} ADD CONSTRAINT soak CHECK (${constraint})`);
      else await this.stores.command(`ALTER TABLE ${table} ADD CONSTRAINT soak CHECK ${constraint}`);
    }
  }
}
