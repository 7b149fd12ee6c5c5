/** Tables in ClickHouse for the length of one question: rows of PostgreSQL that are asked for together with those of ClickHouse. */
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { type ClickHouseClient, ClickHouseLogLevel, createClient } from '@clickhouse/client';
import { identifier, literal } from '../core/clickhouse-sql';
import type { CarriedColumn } from './all-columns';
import { coldError } from './cold';

const PREFIX = '_question_';
/** No question takes so long: what is older was left by a process that ended. */
const LEFTOVER_AGE_SECONDS = 3_600;

export class ScratchTables {
  private readonly client: ClickHouseClient;

  constructor(url: string, timeoutMs: number) {
    this.client = createClient({
      url,
      application: 'thermocline-sql',
      request_timeout: timeoutMs + 5_000,
      max_open_connections: 4,
      log: { level: ClickHouseLogLevel.OFF },
    });
  }

  /** Makes a table of these columns and gives its name. Throws SqlError. */
  async create(columns: readonly CarriedColumn[], types: ReadonlyMap<string, string>): Promise<string> {
    const name = `${PREFIX}${randomBytes(8).toString('hex')}`;
    const definitions = columns.map((column) => `${identifier(column.name)} ${types.get(column.name) ?? 'String'}`);
    await this.run(`CREATE TABLE ${name} (${definitions.join(', ')}) ENGINE = Memory`);
    return name;
  }

  /** Fills it with the text of COPY. Throws SqlError. */
  async fill(name: string, columns: readonly CarriedColumn[], text: AsyncIterable<Buffer>): Promise<void> {
    const pieces = text[Symbol.asyncIterator]();
    const first = await pieces.next();
    // An INSERT without data is an error.
    if (first.done === true) return;
    const structure = columns.flatMap(({ sent }) => sent).map((_, i) => `c${i} Nullable(String)`);
    const names = columns.map((column) => identifier(column.name)).join(', ');
    const made = columns.map((column) => column.made).join(', ');
    const sql = `INSERT INTO ${name} (${names}) SELECT ${made} FROM input(${literal(structure.join(', '))}) FORMAT TabSeparated`;
    await this.run(sql, Readable.from(rest(first.value, pieces), { objectMode: false }));
  }

  async drop(name: string): Promise<void> {
    await this.run(`DROP TABLE IF EXISTS ${name}`);
  }

  async dropLeftovers(): Promise<void> {
    const result = await this.client.query({
      query:
        `SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, ${literal(PREFIX)}) ` +
        `AND metadata_modification_time < now() - ${LEFTOVER_AGE_SECONDS}`,
      format: 'JSONEachRow',
    });
    for (const { name } of await result.json<{ name: string }>()) await this.drop(name);
  }

  private async run(query: string, values?: Readable): Promise<void> {
    try {
      const settings = { wait_end_of_query: 1, async_insert: 0 } as const;
      const { stream } = await this.client.exec({
        query,
        clickhouse_settings: settings,
        ...(values === undefined ? {} : { values }),
      });
      for await (const _ of stream);
    } catch (error) {
      throw coldError(error);
    }
  }

  close(): Promise<void> {
    return this.client.close();
  }
}

async function* rest(first: Buffer, pieces: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  for (let next = await pieces.next(); next.done !== true; next = await pieces.next()) yield next.value;
}
