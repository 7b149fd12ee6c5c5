/** The admin port: health, metrics, the SQL API and the console. Writes no rows but replays of dead letters. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { DeadLetterStore } from '../core/dead-letter';
import type { BatchStatus } from '../core/ingest';
import type { TableSchema, Tier } from '../core/table-schema';
import type { BothTiersSql } from '../query/all';
import type { Logger, Telemetry } from '../telemetry';
import { type Answer, failure, type JsonAnswer, json } from './answer';
import { CONSOLE_HTML } from './console';
import { dropDeadLetters, listDeadLetters, replayDeadLetters, showDeadLetter } from './dead-letters';
import { type DemotionAdmin, listDemotions, planDemotions, restoreDemotions, runDemotions } from './demotions';
import { type BatchLetters, batchAnswer, type LedgerReport, ledgerAnswer } from './ledger';
import { sqlAnswer } from './sql';
import { type TraceStores, traceAnswer } from './traces';

/** One sink as `/readyz` and the console show it. */
export interface SinkStatus {
  readonly up: boolean;
  readonly nextLsn: number;
  readonly rows: number;
  readonly bytes: number;
  readonly ageSeconds: number;
  readonly lastError: string | undefined;
  /** `open`: the store is only asked whether it answers. */
  readonly breaker: string;
  /** Tables whose rows wait because the store refuses them. */
  readonly held: readonly { readonly table: string; readonly code: string; readonly reason: string; readonly sinceMs: number }[];
}

export interface AdminOptions {
  readonly host: string;
  readonly port: number;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  readonly stores: TraceStores;
  readonly bothTiers?: BothTiersSql | undefined;
  readonly tables: () => readonly TableSchema[];
  readonly deadLetters: DeadLetterStore | undefined;
  readonly demotions?: DemotionAdmin | undefined;
  readonly ledger: () => Promise<LedgerReport>;
  readonly batches: BatchStatus;
  readonly batchLetters: BatchLetters;
  /** Undefined while rows are accepted, otherwise why not. */
  readonly notReady: () => string | undefined;
  readonly sinks: () => Readonly<Partial<Record<Tier, SinkStatus>>>;
  /** Brings the gauges up to date before they are read. */
  readonly refresh: () => void;
}

type Route = (request: IncomingMessage) => Answer | Promise<Answer>;

const POST_PATHS: ReadonlySet<string> = new Set([
  '/api/sql',
  '/api/dead-letters/replay',
  '/api/dead-letters/drop',
  '/api/demotions/run',
  '/api/demotions/restore',
]);
const BODY_BYTES_MAX = 1024 * 1024;
/**
 * Longer than the pauses of those who ask again and again (probes, scrapes): with the 5 s of Node a client that comes back late sends
 * its request into a connection that is being closed, and takes the server for dead.
 */
const KEEP_ALIVE_MS = 75_000;

export class AdminServer {
  private readonly server: Server;

  constructor(private readonly options: AdminOptions) {
    const timeouts = { requestTimeout: 30_000, headersTimeout: 10_000, keepAliveTimeout: KEEP_ALIVE_MS };
    this.server = createServer(timeouts, (request, response) => {
      this.handle(request, response).catch((error: unknown) => {
        options.logger.error({ err: error, path: request.url }, 'admin request failed');
        if (response.headersSent) response.destroy();
        else send(response, failure(500, 'internal', 'internal error'));
      });
    });
  }

  /** Resolves with `host:port` when it listens. */
  async start(): Promise<string> {
    const { host, port } = this.options;
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(port, host, resolve);
    });
    return `${host}:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.server.close(() => resolve());
      this.server.closeAllConnections();
    });
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? '/', 'http://admin');
    const route = this.routes[pathname] ?? this.routeOf(pathname);
    if (route === undefined) return send(response, failure(404, 'not_found', 'no such path'));
    const method = POST_PATHS.has(pathname) ? 'POST' : 'GET';
    if (request.method !== method && !(method === 'GET' && request.method === 'HEAD')) {
      response.setHeader('allow', method);
      return send(response, failure(405, 'method_not_allowed', `use ${method}`));
    }
    send(response, await route(request));
  }

  private readonly routes: Readonly<Record<string, Route>> = {
    '/': () => ({ status: 200, contentType: 'text/html; charset=utf-8', body: CONSOLE_HTML }),
    '/healthz': () => json(200, { status: 'ok' }),
    '/readyz': () => this.readiness(),
    '/metrics': async () => {
      this.options.refresh();
      const { registry } = this.options.telemetry;
      return { status: 200, contentType: registry.contentType, body: await registry.metrics() };
    },
    '/api/tables': () => json(200, { tables: this.options.tables().map(tableAnswer) }),
    '/api/ledger': async () => jsonAnswer(ledgerAnswer(await this.options.ledger())),
    '/api/sql': (request) =>
      this.withBody(request, (body) => sqlAnswer({ ...this.options.stores, all: this.options.bothTiers }, body)),
    '/api/dead-letters': (request) => this.withDeadLetters((store) => listDeadLetters(store, queryOf(request))),
    '/api/dead-letters/replay': (request) => this.deadLetterAction(request, replayDeadLetters),
    '/api/dead-letters/drop': (request) => this.deadLetterAction(request, dropDeadLetters),
    '/api/demotions': (request) => this.withDemotions((demotions) => listDemotions(demotions, queryOf(request))),
    '/api/demotions/plan': (request) => this.withDemotions((demotions) => planDemotions(demotions, queryOf(request))),
    '/api/demotions/run': (request) => this.demotionAction(request, runDemotions),
    '/api/demotions/restore': (request) => this.demotionAction(request, restoreDemotions),
  };

  /** Routes with an id behind them. */
  private routeOf(pathname: string): Route | undefined {
    const [, collection, id] = /^\/api\/(dead-letters|batches|traces)\/([^/]+)$/.exec(pathname) ?? [];
    if (id === undefined) return undefined;
    if (collection === 'batches')
      return async () => jsonAnswer(await batchAnswer(this.options.batches, id, this.options.batchLetters));
    if (collection === 'traces') return () => traceAnswer(this.options.stores, this.options.tables(), id);
    return /^\d+-\d+$/.test(id) ? () => this.withDeadLetters((store) => showDeadLetter(store, id)) : undefined;
  }

  private async withDeadLetters(work: (store: DeadLetterStore) => Promise<JsonAnswer>): Promise<Answer> {
    const { deadLetters } = this.options;
    if (deadLetters === undefined) return failure(503, 'unavailable', 'there are no dead letters');
    return jsonAnswer(await work(deadLetters));
  }

  private async withDemotions(work: (demotions: DemotionAdmin) => Promise<JsonAnswer>): Promise<Answer> {
    const { demotions } = this.options;
    if (demotions === undefined) return failure(503, 'unavailable', 'there are no stores to move rows between');
    return jsonAnswer(await work(demotions));
  }

  /** An action that a body of JSON asks for. */
  private async withBody(request: IncomingMessage, action: (body: string) => Promise<Answer>): Promise<Answer> {
    const body = await readJson(request);
    return typeof body === 'string' ? action(body) : body;
  }

  private deadLetterAction(
    request: IncomingMessage,
    action: (store: DeadLetterStore, body: string) => Promise<JsonAnswer>,
  ): Promise<Answer> {
    return this.withBody(request, (body) => this.withDeadLetters((store) => action(store, body)));
  }

  private demotionAction(
    request: IncomingMessage,
    action: (demotions: DemotionAdmin, body: string) => Promise<JsonAnswer>,
  ): Promise<Answer> {
    return this.withBody(request, (body) => this.withDemotions((demotions) => action(demotions, body)));
  }

  private readiness(): Answer {
    const reason = this.options.notReady();
    const sinks = this.options.sinks();
    return reason === undefined ? json(200, { status: 'ready', sinks }) : json(503, { status: 'not ready', reason, sinks });
  }
}

const queryOf = (request: IncomingMessage): URLSearchParams => new URL(request.url ?? '/', 'http://admin').searchParams;

/** The body of a request, or the answer to one that is no JSON or too long. */
async function readJson(request: IncomingMessage): Promise<string | Answer> {
  // A page of another origin can send text/plain without asking; it cannot send JSON.
  if (!/^application\/json\b/i.test(request.headers['content-type'] ?? '')) {
    return failure(415, 'unsupported_media_type', 'content-type must be application/json');
  }
  const body = await readBody(request);
  return body ?? failure(413, 'payload_too_large', `a request has at most ${BODY_BYTES_MAX} bytes`);
}

async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

const tableAnswer = ({ table, version, tier, timeColumn, columns }: TableSchema) => ({
  table,
  version,
  tier,
  time_column: timeColumn,
  columns: columns.map(({ name, type, nullable }) => ({ name, type, nullable })),
});

const jsonAnswer = ({ status, body }: JsonAnswer): Answer => json(status, body);

function send(response: ServerResponse, answer: Answer): void {
  response.writeHead(answer.status, { 'content-type': answer.contentType, 'x-content-type-options': 'nosniff' });
  response.end(answer.body);
}
