/**
 * The chDB engine of this process: one data directory, one engine, and one connection per request, so that SET, USE, parameters
 * and temporary tables of one request never reach another. A connection costs about 0.3 ms and 130 KB.
 *
 * chDB makes `default` an overlay that also reads any file as a table (`SELECT * FROM "/etc/passwd"`, even with readonly = 1).
 * It is replaced by the plain Atomic database below it, as a server has it.
 */
import { existsSync } from 'node:fs';
import { readlink } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { basename, join } from 'node:path';
import { literal } from '../../core/clickhouse-sql';
import { refuse, toException } from './exception';

/** The part of npm `chdb` that is used here. */
interface ChdbSession {
  queryAsync(
    sql: string,
    options: { format: string },
  ): Promise<{ bytes(): Uint8Array; readonly rowsRead: number; readonly bytesRead: number }>;
  close(): void;
}
interface Chdb {
  Session: new (path: string, options?: { connectionArgs: readonly string[] }) => ChdbSession;
  drainPending(): Promise<void>;
}

export interface EngineResult {
  readonly bytes: Buffer;
  /** Rows of the result, or rows read from the file of an INSERT. */
  readonly rows: number;
  readonly bytesRead: number;
}

export interface OutputFormat {
  readonly name: string;
  readonly contentType: string;
}

export interface EngineInfo {
  readonly version: string;
  readonly timezone: string;
  readonly displayName: string;
  /** By name in upper case. */
  readonly formats: ReadonlyMap<string, OutputFormat>;
}

export interface Connection {
  /** Runs statements separated by `;`, stops at the first error, answers the output of all. Throws ClickHouseException. */
  run(sql: string, format: string): Promise<EngineResult>;
  close(): void;
}

const GIB = 1024 ** 3;
/** Never more than half of the machine: the ingest server runs beside it. */
const MEMORY_BYTES_MAX = Math.floor(Math.min(4 * GIB, totalmem() / 2));
/** One query may not starve the others. */
export const QUERY_MEMORY_BYTES_MAX = Math.floor(MEMORY_BYTES_MAX * 0.75);

const SERVER_ARGS: readonly string[] = [
  `--max_server_memory_usage=${MEMORY_BYTES_MAX}`,
  '--mark_cache_size=268435456',
  '--uncompressed_cache_size=0',
  '--background_pool_size=2',
  '--background_schedule_pool_size=4',
  '--background_move_pool_size=1',
  '--background_fetches_pool_size=1',
  '--background_common_pool_size=2',
  '--max_thread_pool_size=1000',
];

export class Engine {
  readonly info: EngineInfo;
  private readonly chdb: Chdb;
  private readonly path: string;
  private readonly root: ChdbSession;
  /** Called when the engine has given up: nothing but a new process helps. */
  onFatal: () => void = () => {};

  private constructor(chdb: Chdb, path: string, root: ChdbSession, info: EngineInfo) {
    this.chdb = chdb;
    this.path = path;
    this.root = root;
    this.info = info;
  }

  /** Opens the directory, which must exist and be ours alone. Throws when the package is missing or the engine refuses. */
  static async open(path: string): Promise<Engine> {
    const chdb = loadChdb();
    let root: ChdbSession;
    try {
      root = new chdb.Session(path, { connectionArgs: SERVER_ARGS });
    } catch (error) {
      throw new Error(`the ClickHouse engine cannot open ${path}: held by another process (code 76), not writable, or damaged`, {
        cause: error,
      });
    }
    await replaceDefaultDatabase(root, path);
    return new Engine(chdb, path, root, await readInfo(root));
  }

  connect(): Connection {
    let session: ChdbSession;
    try {
      session = new this.chdb.Session(this.path);
    } catch (error) {
      this.onFatal();
      throw refuse('ABORTED', 'the engine does not take connections any more', error);
    }
    return {
      run: async (sql, format) => {
        try {
          return await runOn(session, sql, format);
        } catch (error) {
          if (/shutting down due to a fatal error/.test((error as Error).message)) this.onFatal();
          throw error;
        }
      },
      close: () => session.close(),
    };
  }

  /** Waits for what runs, then releases the directory. */
  async close(): Promise<void> {
    await this.chdb.drainPending();
    this.root.close();
  }
}

async function runOn(session: ChdbSession, sql: string, format: string): Promise<EngineResult> {
  try {
    const result = await session.queryAsync(sql, { format });
    const bytes = result.bytes();
    return {
      bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
      rows: result.rowsRead,
      bytesRead: result.bytesRead,
    };
  } catch (error) {
    throw toException(error);
  }
}

function loadChdb(): Chdb {
  try {
    return require('chdb') as Chdb;
  } catch (error) {
    throw new Error(
      'the embedded ClickHouse engine needs the optional package chdb (Linux with glibc or macOS, x64 or arm64): ' +
        'run `npm install chdb`, or set THERMOCLINE_CLICKHOUSE_URL to a ClickHouse server',
      { cause: error },
    );
  }
}

/** Repeated on every start, because the engine makes its overlay anew; tables stay where they are. */
async function replaceDefaultDatabase(root: ChdbSession, path: string): Promise<void> {
  const link = join(path, 'metadata', 'default');
  if (!existsSync(link)) {
    // The engine makes the directory with the first table.
    await runOn(root, 'CREATE TABLE default._first (a UInt8) ENGINE = Memory; DROP TABLE default._first SYNC', 'TSV');
  }
  const uuid = basename(await readlink(link));
  const swap = `USE system; DETACH DATABASE default; ATTACH DATABASE default UUID ${literal(uuid)} ENGINE = Atomic; USE default`;
  await runOn(root, swap, 'TSV');
}

async function readInfo(root: ChdbSession): Promise<EngineInfo> {
  const ask = async (sql: string): Promise<string[][]> => {
    const text = (await runOn(root, sql, 'TSV')).bytes.toString('utf8');
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split('\t'));
  };
  const [[version = '', timezone = '', displayName = ''] = []] = await ask('SELECT version(), timezone(), displayName()');
  const formats = await ask('SELECT name, content_type FROM system.formats WHERE is_output');
  return {
    version,
    timezone,
    displayName,
    formats: new Map(formats.map(([name = '', contentType = '']) => [name.toUpperCase(), { name, contentType }])),
  };
}
