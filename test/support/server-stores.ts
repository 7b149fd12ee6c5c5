import { startClickHouse, type TestClickHouse } from './clickhouse';
import { startPostgres, type TestPostgres } from './postgres';
import { TestServer, temporaryDirectory } from './server';

/** Both stores and a data directory, which outlive the servers that are started on them. */
export class ServerStores {
  private constructor(
    readonly postgres: TestPostgres,
    readonly clickhouse: TestClickHouse,
    private readonly directory: Awaited<ReturnType<typeof temporaryDirectory>>,
  ) {}

  static async open(): Promise<ServerStores> {
    return new ServerStores(...(await Promise.all([startPostgres(), startClickHouse(), temporaryDirectory()])));
  }

  /** The data directory of the servers. */
  get path(): string {
    return this.directory.path;
  }

  /** `settings`: beside those of the stores, or in their place. */
  start(settings: Readonly<Record<string, string>> = {}): Promise<TestServer> {
    const { postgres, clickhouse, path } = this;
    const own = { POSTGRES_URL: postgres.url, CLICKHOUSE_URL: clickhouse.url, DELIVERY_INTERVAL_MS: '20' };
    return TestServer.start({ dataDir: path, settings: { ...own, ...settings } });
  }

  async close(): Promise<void> {
    await Promise.all([this.postgres.stop(), this.clickhouse.stop(), this.directory.remove()]);
  }
}
