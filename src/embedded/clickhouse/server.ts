/**
 * The ClickHouse HTTP interface over one chDB engine.
 *
 * A result is complete in a file before its first byte is sent: memory stays bounded for any size, and an error always has its
 * status and code, as a server gives with wait_end_of_query = 1. INSERT data goes from the socket to a file, then into the
 * engine in one statement. A body that ends early is never executed.
 *
 *   <dataDir>/engine   the engine's own
 *   <dataDir>/http     data and results in transit, emptied on start
 */

import { randomUUID, timingSafeEqual } from 'node:crypto';
import { mkdir, rm, stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fromBytes } from '../../core/sql-tokens';
import { type Summary, sendException, sendResult } from './answer';
import { BodyReader, decodedBody, readMultipart } from './body';
import { Engine, type EngineResult, QUERY_MEMORY_BYTES_MAX } from './engine';
import { type ClickHouseException, refuse, toException } from './exception';
import { addRevision, nativeWithRevision } from './native-blocks';
import { prologueSql, type QueryRequest, readRequest } from './request';
import { logComment, RunningQueries, type RunningQuery, shortQueryText } from './running';
import { type Lease, Sessions } from './sessions';
import { Slots } from './slots';
import { applyEdits, type InsertData, insertFromFile, onlyReads, outputEdit, readStatement, type Statement } from './statement';

export interface ClickHouseServerOptions {
  /** Absolute path without the characters `*?{}[]`, which the engine takes for patterns. */
  readonly dataDir: string;
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** Asked of the user of every request; without it everyone on this host may come in. */
  readonly password?: string;
}

/** The engine's one-shot calls occupy a thread of libuv each; the pool is larger by what file access needs. */
export const QUERIES_MAX = 16;
const WAITING_MAX = 512;
const KEEP_ALIVE_MS = 30_000;
const URI_BYTES_MAX = 1024 * 1024;
const DRAIN_MS = 10_000;
const SWEEP_MS = 25;
const SETTING_ON = new Set(['1', 'true']);

interface Job {
  readonly request: QueryRequest;
  readonly entry: RunningQuery;
  readonly method: string;
  readonly startedMs: number;
}

interface Output {
  readonly result: { readonly file: string; readonly sizeBytes: number } | Buffer;
  readonly format: string;
  readonly summary: Summary;
}

export class ClickHouseServer {
  private readonly engine: Engine;
  private readonly options: ClickHouseServerOptions;
  private readonly tempDir: string;
  private readonly running = new RunningQueries();
  private readonly slots = new Slots(QUERIES_MAX, WAITING_MAX);
  private readonly sessions: Sessions;
  private readonly http: Server;
  private stopping = false;

  private constructor(engine: Engine, options: ClickHouseServerOptions, tempDir: string) {
    this.engine = engine;
    this.options = options;
    this.tempDir = tempDir;
    this.sessions = new Sessions(engine);
    this.http = createServer(
      { keepAliveTimeout: KEEP_ALIVE_MS, maxHeaderSize: URI_BYTES_MAX, requestTimeout: 0 },
      (request, response) => {
        void this.handle(request, response);
      },
    );
  }

  /** Opens the engine and listens. The caller holds the lock of the data directory. */
  static async start(options: ClickHouseServerOptions): Promise<ClickHouseServer> {
    if (/[*?{}[\]]/.test(options.dataDir)) {
      throw new Error(`the ClickHouse data directory must not contain any of *?{}[]: ${options.dataDir}`);
    }
    const engineDir = join(options.dataDir, 'engine');
    await mkdir(engineDir, { recursive: true });
    const engine = await Engine.open(engineDir);
    const tempDir = join(options.dataDir, 'http');
    await rm(tempDir, { recursive: true, force: true });
    await mkdir(tempDir, { recursive: true });
    const server = new ClickHouseServer(engine, options, tempDir);
    await server.listen();
    return server;
  }

  /** Calls `listener` when the engine has given up; the process must end. */
  onFatal(listener: () => void): void {
    this.engine.onFatal = listener;
  }

  get port(): number {
    return (this.http.address() as AddressInfo).port;
  }

  /** Takes no more requests, lets the running ones end, kills them after a while, and closes the engine. */
  async stop(): Promise<void> {
    if (this.stopping) return;
    this.stopping = true;
    const closed = new Promise<void>((resolve) => {
      this.http.close(() => resolve());
    });
    // A kept-alive connection becomes idle when its last answer is sent.
    const sweep = setInterval(() => this.http.closeIdleConnections(), SWEEP_MS);
    this.http.closeIdleConnections();
    const timer = setTimeout(() => {
      void this.running.killAll().then(() => this.http.closeAllConnections());
    }, DRAIN_MS);
    await closed;
    clearInterval(sweep);
    clearTimeout(timer);
    await this.running.killAll();
    this.sessions.closeAll();
    await this.engine.close();
    await rm(this.tempDir, { recursive: true, force: true });
  }

  private listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.http.once('error', reject);
      this.http.listen(this.options.port, this.options.host, () => {
        this.http.removeListener('error', reject);
        resolve();
      });
    });
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let queryId: string | undefined;
    try {
      const url = new URL(request.url ?? '/', 'http://localhost');
      if (this.stopping) response.setHeader('Connection', 'close');
      if (this.answerPlain(request, response, url)) return;
      const asked = readRequest(url, request.headers, new Map());
      this.checkPassword(asked);
      queryId = asked.queryId ?? randomUUID();
      await this.handleQuery(request, response, url, asked, queryId);
    } catch (error) {
      this.fail(request, response, toException(error), queryId);
    }
  }

  /** Health checks and paths that hold nothing. */
  private answerPlain(request: IncomingMessage, response: ServerResponse, url: URL): boolean {
    const text = (status: number, body: string): true => {
      request.resume();
      response
        .writeHead(status, { 'Content-Type': 'text/html; charset=UTF-8' })
        .end(request.method === 'HEAD' ? undefined : body);
      return true;
    };
    if (url.pathname === '/ping' || url.pathname === '/replicas_status') return text(200, 'Ok.\n');
    if (url.pathname !== '/') return text(404, `There is no handle ${url.pathname}\n\nUse / or /ping for health checks.\n`);
    if (request.method === 'OPTIONS') return text(204, '');
    const reads = request.method === 'GET' || request.method === 'HEAD';
    if (reads && !url.searchParams.has('query')) return text(200, 'Ok.\n');
    if (!reads && request.method !== 'POST') return text(501, 'Use GET or POST.\n');
    return false;
  }

  private checkPassword(request: QueryRequest): void {
    const wanted = this.options.password;
    if (wanted === undefined) return;
    const [left, right] = [Buffer.from(request.password), Buffer.from(wanted)];
    if (left.length !== right.length || !timingSafeEqual(left, right)) {
      throw refuse(
        'AUTHENTICATION_FAILED',
        `${request.user}: Authentication failed: password is incorrect, or there is no user with such name`,
      );
    }
  }

  private async handleQuery(
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    asked: QueryRequest,
    queryId: string,
  ): Promise<void> {
    const replace = SETTING_ON.has(asked.settings.get('replace_running_query') ?? '0');
    const entry = await this.running.register(queryId, asked.user, replace);
    const files: string[] = [];
    try {
      const startedMs = performance.now();
      const chunks = decodedBody(request, entry.killed.signal);
      const form = await readForm(request, chunks);
      const job: Job = {
        request: form === undefined ? asked : readRequest(url, request.headers, form),
        entry,
        method: request.method ?? 'GET',
        startedMs,
      };
      const prefix = job.request.query === undefined ? '' : `${job.request.query}\n`;
      const output = await this.execute(job, new BodyReader(Buffer.from(prefix, 'utf8'), chunks), response, files);
      entry.end();
      const settings = job.request.settings;
      const found = this.engine.info.formats.get(output.format.toUpperCase());
      await sendResult(
        request,
        response,
        {
          info: this.engine.info,
          queryId,
          format: found?.name ?? output.format,
          contentType: found?.contentType || 'text/plain; charset=UTF-8',
          summary: output.summary,
        },
        output.result,
        {
          enabled: SETTING_ON.has(settings.get('enable_http_compression') ?? '0'),
          level: Math.min(9, Math.max(1, Number(settings.get('http_zlib_compression_level') ?? 3) || 3)),
        },
      );
    } finally {
      entry.end();
      await Promise.all(files.map((file) => rm(file, { force: true })));
    }
  }

  private async execute(job: Job, body: BodyReader, response: ServerResponse, files: string[]): Promise<Output> {
    let text = body.text.toString('latin1');
    let statement = readStatement(text, body.complete);
    while (statement === undefined) {
      await body.more();
      text = body.text.toString('latin1');
      statement = readStatement(text, body.complete);
    }
    job.entry.query = shortQueryText(fromBytes(statement.kind === 'insert' ? text.slice(0, statement.dataAt) : text).trim());
    if (statement.kind === 'empty') throw refuse('SYNTAX_ERROR', 'Empty query');
    this.checkReadonly(job, statement);
    if (statement.kind === 'insert') return this.insert(job, text, statement, body, files);
    if (
      statement.kind === 'select' &&
      SETTING_ON.has(job.request.settings.get('cancel_http_readonly_queries_on_client_close') ?? '0')
    ) {
      response.once('close', () => job.entry.killed.abort());
    }
    if (statement.kind === 'kill') {
      const sql = await this.running.kill(this.engine, text, statement);
      const answer = readStatement(Buffer.from(sql, 'utf8').toString('latin1'), true) as Statement & { kind: 'select' };
      return this.select(job, Buffer.from(sql, 'utf8').toString('latin1'), answer, files);
    }
    const edits = this.running.processesEdits(statement);
    if (statement.kind === 'select') return this.select(job, text, statement, files);
    const sql = applyEdits(text.slice(0, statement.end), edits);
    const format = statement.format?.name ?? job.request.defaultFormat;
    const result = await this.run(job, fromBytes(sql), formatName(job.request.defaultFormat));
    const revision = format.toUpperCase() === 'NATIVE' ? job.request.clientProtocolVersion : 0;
    const bytes = revision > 0 ? Buffer.concat(addRevision(result.bytes, revision)) : result.bytes;
    return { result: bytes, format, summary: readSummary(job, result) };
  }

  /** In a session the engine cannot be told for one request only, so the kind of the statement decides. */
  private checkReadonly(job: Job, statement: Statement): void {
    const asked = job.request.settings.get('readonly') ?? '0';
    const readonly = isRead(job.method) || asked !== '0';
    if (readonly && job.request.session !== undefined && !onlyReads(statement)) {
      throw refuse('READONLY', `${job.request.user}: Cannot execute query in readonly mode`);
    }
  }

  private async insert(job: Job, text: string, insert: InsertData, body: BodyReader, files: string[]): Promise<Output> {
    const file = join(this.tempDir, `${job.entry.tag}.in`);
    files.push(file);
    const sizeBytes = await body.spool(insert.dataAt, file);
    const result = await this.run(job, fromBytes(insertFromFile(text, insert, file)), 'TabSeparated');
    const summary = {
      ...readSummary(job, result),
      writtenRows: result.rows,
      writtenBytes: result.bytesRead,
      readBytes: sizeBytes,
    };
    return { result: result.bytes, format: job.request.defaultFormat, summary };
  }

  private async select(job: Job, text: string, statement: Statement & { kind: 'select' }, files: string[]): Promise<Output> {
    const file = join(this.tempDir, `${job.entry.tag}.out`);
    files.push(file);
    const defaultFormat = formatName(job.request.defaultFormat);
    const edits = [...this.running.processesEdits(statement), outputEdit(statement, file, defaultFormat)];
    const result = await this.run(job, fromBytes(applyEdits(text.slice(0, statement.end), edits)), defaultFormat);
    const format = statement.format?.name ?? defaultFormat;
    const sizeBytes = await stat(file).then(
      (stats) => stats.size,
      () => undefined,
    );
    const summary = readSummary(job, result);
    if (sizeBytes === undefined) return { result: result.bytes, format, summary };
    if (format.toUpperCase() === 'NATIVE' && job.request.clientProtocolVersion > 0) {
      const converted = `${file}.native`;
      files.push(converted);
      const convertedBytes = await nativeWithRevision(file, converted, job.request.clientProtocolVersion);
      return { result: { file: converted, sizeBytes: convertedBytes }, format, summary };
    }
    return { result: { file, sizeBytes }, format, summary };
  }

  /** Runs one statement on the connection of the request, with its settings; KILL QUERY ends it at any point. */
  private async run(job: Job, sql: string, format: string): Promise<EngineResult> {
    const { entry, request } = job;
    const giveBack = await this.slots.take(entry.killed.signal);
    let lease: Lease | undefined;
    const cancel = (): void => {
      // A failure leaves the query running, and KILL waiting for it: truthful.
      this.running.cancelInEngine(this.engine, entry).catch(() => undefined);
    };
    try {
      lease = this.sessions.lease(request);
      entry.state = 'running';
      entry.killed.signal.addEventListener('abort', cancel, { once: true });
      const prologue = prologueSql({
        request,
        logComment: logComment(entry, request.settings.get('log_comment') ?? ''),
        queryMemoryBytesMax: QUERY_MEMORY_BYTES_MAX,
        readonly: readonlyMode(job),
      });
      const result = await lease.connection.run(prologue + sql, format);
      if (entry.killed.signal.aborted) throw refuse('QUERY_WAS_CANCELLED', 'Query was cancelled');
      return result;
    } finally {
      entry.killed.signal.removeEventListener('abort', cancel);
      lease?.release();
      giveBack();
    }
  }

  private fail(
    request: IncomingMessage,
    response: ServerResponse,
    exception: ClickHouseException,
    queryId: string | undefined,
  ): void {
    const { version, timezone } = this.engine.info;
    // What is left of the body is not read; the connection cannot be used again.
    if (!request.complete) {
      response.setHeader('Connection', 'close');
      request.unpipe();
      request.resume();
    }
    sendException(response, exception, version, { timezone, ...(queryId === undefined ? {} : { queryId }) });
  }
}

function isRead(method: string): boolean {
  return method === 'GET' || method === 'HEAD';
}

function readonlyMode(job: Job): 1 | 2 | undefined {
  if (job.request.session !== undefined || !isRead(job.method)) return undefined;
  return job.request.settings.get('readonly') === '1' ? 1 : 2;
}

/** It is put into the statement, so it may only be a name; whether it exists, the engine says. */
function formatName(name: string): string {
  if (!/^[A-Za-z][A-Za-z0-9_]*$/.test(name)) throw refuse('BAD_ARGUMENTS', `Bad format name: ${JSON.stringify(name)}`);
  return name;
}

function readSummary(job: Job, result: EngineResult): Summary {
  return {
    readRows: result.rows,
    readBytes: result.bytesRead,
    writtenRows: 0,
    writtenBytes: 0,
    resultRows: result.rows,
    resultBytes: result.bytesRead,
    elapsedMs: performance.now() - job.startedMs,
  };
}

async function readForm(request: IncomingMessage, chunks: AsyncIterator<Buffer, void>): Promise<Map<string, string> | undefined> {
  const type = request.headers['content-type'] ?? '';
  if (!/^multipart\/form-data/i.test(type)) return undefined;
  const body = new BodyReader(Buffer.alloc(0), chunks);
  while (!body.complete) await body.more();
  return readMultipart(body.text, type);
}
