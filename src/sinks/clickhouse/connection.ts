/**
 * Requests to ClickHouse over HTTP, through `@clickhouse/client`. One request is one attempt: nothing is retried here.
 *
 * A clean success is: status 200, no exception code in the headers, the whole answer received, and for an INSERT an empty
 * answer (a server that has begun to answer can report an exception only in the body). Everything else is a StoreError.
 */
import { Readable } from 'node:stream';
import { type ClickHouseClient, ClickHouseLogLevel, type ClickHouseSettings, createClient } from '@clickhouse/client';
import { codeOf, StoreError } from './errors';
import type { Location } from './location';

export interface RequestOptions {
  readonly settings?: ClickHouseSettings;
  readonly queryId?: string;
  readonly timeoutMs?: number;
}

const OK = 200;
/** Our statements answer with a few rows; a longer answer is not from a ClickHouse. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024;
/** Characters of an error text that are kept. */
const MESSAGE_LENGTH_MAX = 1_000;
/** Below the shortest keep-alive of servers in use (3 s before 23.11, now 10 s), or requests meet closed sockets. */
const IDLE_SOCKET_MS = 2_000;

export interface ConnectionOptions {
  readonly location: Location;
  readonly queryTimeoutMs: number;
  readonly connectionsMax: number;
}

export class Connection {
  private readonly client: ClickHouseClient;
  private readonly open = new Set<AbortController>();
  private closing = false;

  constructor(private readonly options: ConnectionOptions) {
    const { origin, username, password } = options.location;
    this.client = createClient({
      url: origin,
      username,
      password,
      application: 'thermocline',
      // Time is kept here, for the request as a whole: the client's own limit is for a silent socket.
      request_timeout: 2 ** 31 - 1,
      max_open_connections: options.connectionsMax,
      keep_alive: { enabled: true, idle_socket_ttl: IDLE_SOCKET_MS, eagerly_destroy_stale_sockets: true },
      log: { level: ClickHouseLogLevel.OFF },
    });
  }

  /** Runs a statement that gives no rows we need. */
  async command(sql: string, options: RequestOptions = {}): Promise<void> {
    await this.request(sql, undefined, options);
  }

  /** Rows of a SELECT, as objects; 64-bit integers are strings. */
  async rows<T>(sql: string, options: RequestOptions = {}): Promise<T[]> {
    const settings: ClickHouseSettings = { output_format_json_quote_64bit_integers: 1, ...options.settings };
    const answer = await this.request(`${sql} FORMAT JSON`, undefined, { ...options, settings });
    try {
      return (JSON.parse(answer) as { data: T[] }).data;
    } catch (error) {
      throw new StoreError('the answer of clickhouse is not JSON', { code: codeOf(answer), cause: error });
    }
  }

  /** Sends the body of an INSERT. */
  async insert(sql: string, body: Uint8Array, options: RequestOptions): Promise<void> {
    const answer = await this.request(sql, body, options);
    if (answer !== '')
      throw new StoreError(`clickhouse answered an insert with text: ${shorten(answer)}`, { code: codeOf(answer) });
  }

  /** The bytes of an answer of any length, which the server has whole before the first of them comes. Leaving the loop ends it. */
  async *stream(sql: string, options: RequestOptions = {}): AsyncGenerator<Buffer> {
    if (this.closing) throw new StoreError('the connection to clickhouse is closed');
    const request = new AbortController();
    const timer = setTimeout(() => request.abort(), options.timeoutMs ?? this.options.queryTimeoutMs);
    this.open.add(request);
    try {
      const result = await this.client.exec(queryOf(sql, undefined, options, request.signal));
      if (failed(result)) {
        const answer = await readText(result.stream, request.signal);
        throw new StoreError(shorten(answer), { code: exceptionCode(result) || codeOf(answer) });
      }
      for await (const chunk of result.stream) yield chunk as Buffer;
    } catch (error) {
      throw error instanceof StoreError ? error : new StoreError('clickhouse does not answer', { cause: error });
    } finally {
      clearTimeout(timer);
      this.open.delete(request);
      request.abort();
    }
  }

  private async request(sql: string, body: Uint8Array | undefined, options: RequestOptions): Promise<string> {
    if (this.closing) throw new StoreError('the connection to clickhouse is closed');
    const request = new AbortController();
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      request.abort();
    }, options.timeoutMs ?? this.options.queryTimeoutMs);
    this.open.add(request);
    try {
      return await this.exchange(sql, body, options, request.signal);
    } catch (error) {
      if (error instanceof StoreError) throw error;
      throw new StoreError(late ? 'clickhouse does not answer in time' : 'clickhouse does not answer', { cause: error });
    } finally {
      clearTimeout(timer);
      this.open.delete(request);
    }
  }

  private async exchange(
    sql: string,
    body: Uint8Array | undefined,
    options: RequestOptions,
    signal: AbortSignal,
  ): Promise<string> {
    const result = await this.client.exec(queryOf(sql, body, options, signal));
    const answer = await readText(result.stream, signal);
    if (failed(result)) {
      const code = exceptionCode(result) || codeOf(answer);
      throw new StoreError(shorten(answer) || `clickhouse answered with status ${result.http_status_code}`, { code });
    }
    return answer;
  }

  /** Ends open requests and sockets. */
  async close(): Promise<void> {
    this.closing = true;
    for (const request of this.open) request.abort();
    await this.client.close();
  }
}

const queryOf = (sql: string, body: Uint8Array | undefined, options: RequestOptions, signal: AbortSignal) => ({
  query: sql,
  ...(body === undefined ? {} : { values: byteStream(body) }),
  ...(options.queryId === undefined ? {} : { query_id: options.queryId }),
  // Buffers the answer in the server, so that the status tells how the whole query ended.
  clickhouse_settings: { wait_end_of_query: 1 as const, ...options.settings },
  abort_signal: signal,
  ignore_error_response: true,
});

/** What came back before the body of an answer. */
interface AnswerHead {
  readonly http_status_code?: number;
  readonly response_headers: Readonly<Record<string, unknown>>;
}

const exceptionCode = ({ response_headers: headers }: AnswerHead): string =>
  (headers['x-clickhouse-exception-code'] as string | undefined) ?? '';

const failed = (head: AnswerHead): boolean => head.http_status_code !== OK || exceptionCode(head) !== '';

const byteStream = (body: Uint8Array): Readable =>
  Readable.from([Buffer.from(body.buffer, body.byteOffset, body.byteLength)], { objectMode: false });

const shorten = (text: string): string => text.trim().slice(0, MESSAGE_LENGTH_MAX);

/** Reads to the end (also of an error), so that the socket can be used again; a cut answer throws. */
async function readText(stream: Readable, signal: AbortSignal): Promise<string> {
  const stop = (): void => void stream.destroy(new Error('aborted'));
  signal.addEventListener('abort', stop, { once: true });
  try {
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of stream) {
      length += (chunk as Buffer).length;
      if (length > ANSWER_BYTES_MAX) throw new StoreError('the answer of clickhouse is too long');
      chunks.push(chunk as Buffer);
    }
    return Buffer.concat(chunks).toString('utf8');
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
