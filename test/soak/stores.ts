/** PostgreSQL and ClickHouse as processes of their own, behind proxies that break connections, killed and started again at the same place. */
import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import { EmbeddedClickHouse } from '../../src/embedded/clickhouse/launcher';
import { EmbeddedPostgres } from '../../src/embedded/postgres';
import { silentLogger } from '../../src/telemetry';
import { CLICKHOUSE_CHILD } from '../support/clickhouse';
import { HTTP_FAULTS, type HttpFault, HttpFaultProxy } from '../support/http-fault-proxy';
import { TcpProxy } from '../support/tcp-proxy';

/**
 * Faults of the way to ClickHouse that a request may meet. `silence` is left out, for it only costs the time of a query, and `false
 * success`: a clean answer to the first attempt is what the exactly-once recipe trusts (C4), a store that lies in it is broken.
 */
const LEFT_OUT: ReadonlySet<HttpFault> = new Set<HttpFault>(['none', 'silence', 'false success', 'swallow answer']);
const FAULTS = HTTP_FAULTS.filter((fault) => !LEFT_OUT.has(fault));
const COMMIT = 'COMMIT\0';

export class SoakStores {
  private breaking: (() => HttpFault) | undefined;
  private down = { hot: false, cold: false };
  /** Part of the INSERTs into ClickHouse that meet a fault. */
  faultsOfInserts = 0;

  private constructor(
    private readonly directory: string,
    private readonly postgres: EmbeddedPostgres,
    private readonly clickhouse: EmbeddedClickHouse,
    readonly toPostgres: TcpProxy,
    readonly toClickHouse: HttpFaultProxy,
  ) {}

  /** `random` chooses the faults of inserts. */
  static async start(directory: string, random: () => number): Promise<SoakStores> {
    const [postgres, clickhouse] = await Promise.all([
      EmbeddedPostgres.start({ dataDir: join(directory, 'postgres'), logger: silentLogger() }),
      EmbeddedClickHouse.start({ dataDir: join(directory, 'clickhouse'), logger: silentLogger(), child: CLICKHOUSE_CHILD }),
    ]);
    const toPostgres = await TcpProxy.start(Number(new URL(postgres.url).port));
    const toClickHouse = new HttpFaultProxy(clickhouse.url);
    await toClickHouse.start();
    const stores = new SoakStores(directory, postgres, clickhouse, toPostgres, toClickHouse);
    toClickHouse.next = (url) => {
      if (stores.down.cold) return 'cut before';
      const isInsert = url.searchParams.has('insert_deduplication_token');
      if (isInsert && stores.breaking !== undefined) return stores.breaking();
      if (!isInsert || random() >= stores.faultsOfInserts) return 'none';
      return FAULTS[Math.floor(random() * FAULTS.length)];
    };
    return stores;
  }

  /** As the server is told them: through the proxies. */
  get settings(): Record<string, string> {
    return { POSTGRES_URL: this.toPostgres.urlFor(this.postgres.url), CLICKHOUSE_URL: this.toClickHouse.url };
  }

  /** kill -9; it is started again by its launcher, on its port and data. */
  killPostgres(): void {
    const file = join(this.directory, 'postgres', 'pgdata', 'postmaster.pid');
    try {
      process.kill(Number(readFileSync(file, 'utf8').split('\n', 1)[0]), 'SIGKILL');
    } catch (error) {
      // It is between an earlier kill and its restart.
      if (!['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }

  killClickHouse(): void {
    if (this.clickhouse.pid !== undefined) process.kill(this.clickhouse.pid, 'SIGKILL');
  }

  /** The next COMMIT is lost, or its answer is. */
  cutCommit(what: 'lose request' | 'lose answer'): void {
    this.toPostgres.arm({ kind: what, marker: COMMIT });
  }

  /** The next INSERT into ClickHouse meets this fault; `then` is called when it does, after the effect of an INSERT that is let through. */
  breakInsert(fault: 'cut before' | 'cut before answer', then: () => void): void {
    this.breaking = () => {
      this.breaking = undefined;
      if (fault === 'cut before') then();
      else this.toClickHouse.onAnswer = then;
      return fault;
    };
  }

  setDown(tier: 'hot' | 'cold', down: boolean): void {
    this.down[tier] = down;
    if (tier === 'cold') return;
    // Nothing listens on port 1.
    this.toPostgres.retarget(down ? 1 : Number(new URL(this.postgres.url).port));
    if (down) this.toPostgres.cutAll();
  }

  /** Everything works again and stays so. */
  heal(): void {
    this.faultsOfInserts = 0;
    this.breaking = undefined;
    this.toClickHouse.onAnswer = () => undefined;
    this.toPostgres.disarm();
    for (const tier of ['hot', 'cold'] as const) this.setDown(tier, false);
  }

  /** Waits until both answer. */
  async answers(): Promise<void> {
    for (;;) {
      try {
        await this.command('SELECT 1');
        await this.hotValues('SELECT 1', () => undefined);
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }

  /** Calls `each` with every line of a query of one column in PostgreSQL, past the proxy. */
  hotValues(query: string, each: (text: string) => void): Promise<void> {
    return this.withClient((client) => eachLine(client.query(copyTo(`COPY (${query}) TO STDOUT`)), each));
  }

  execute(sql: string): Promise<void> {
    return this.withClient(async (client) => {
      await client.query(sql);
    });
  }

  private async withClient(work: (client: Client) => Promise<void>): Promise<void> {
    const client = new Client({ connectionString: this.postgres.url });
    client.on('error', () => undefined);
    await client.connect();
    try {
      await work(client);
    } finally {
      await client.end();
    }
  }

  /** The same in ClickHouse. */
  async coldValues(query: string, each: (text: string) => void): Promise<void> {
    const response = await fetch(this.clickhouse.url, { method: 'POST', body: `${query} FORMAT TSV` });
    if (!response.ok || response.body === null) throw new Error(await response.text());
    await eachLine(response.body, each);
  }

  async command(sql: string): Promise<void> {
    const response = await fetch(this.clickhouse.url, { method: 'POST', body: sql });
    const text = await response.text();
    if (!response.ok) throw new Error(text);
  }

  async stop(): Promise<void> {
    await Promise.all([this.toPostgres.stop(), this.toClickHouse.stop()]);
    await Promise.all([this.postgres.stop(), this.clickhouse.stop()]);
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function eachLine(chunks: AsyncIterable<Uint8Array>, each: (text: string) => void): Promise<void> {
  let rest = '';
  for await (const chunk of chunks) {
    const lines = (rest + Buffer.from(chunk).toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) each(line);
  }
  if (rest !== '') each(rest);
}
