/**
 * The HTTP/1.1 listener that the OTLP/HTTP and REST adapters share: routes, bounds in bytes and time, connections that
 * survive an error answer, and a stop that finishes what was accepted.
 *
 * Request smuggling (Content-Length with Transfer-Encoding, two lengths, folded headers, bare line feeds) is refused by Node's strict
 * parser, which must stay strict here: never set `insecureHTTPParser`.
 */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { IngestError } from '../core/errors';
import { LIMITS } from '../core/limits';
import type { Logger } from '../telemetry';
import { clientOfAddress } from './client-key';
import { declaredLength, discardBody, readBody } from './http-body';
import type { Authorize, HttpAdapter, HttpExchange, HttpReply } from './http-contract';
import { HttpRouter, pathOf, queryOf, type RouteMatch } from './http-router';
import { retryAfterSeconds } from './status';

export interface HttpListenerOptions {
  readonly host: string;
  /** 0 picks a free port. */
  readonly port: number;
  /** The last one also answers what no adapter claims. */
  readonly adapters: readonly HttpAdapter[];
  readonly logger: Logger;
  readonly bodyBytesMax?: number;
  /** From the connection, or the end of the last request, to the end of the headers. */
  readonly headersTimeoutMs?: number;
  /** From the first byte to the end of the body. */
  readonly requestTimeoutMs?: number;
  readonly keepAliveTimeoutMs?: number;
  readonly connectionsMax?: number;
  readonly authorize?: Authorize;
}

/** An unread body of at most this size is read and thrown away, so that the connection can go on. */
const DISCARD_BYTES_MAX = 64 * 1024;
const DISCARD_TIMEOUT_MS = 100;
/**
 * A connection closed while the client still sends makes the kernel reset it, and the client may lose the answer. So
 * after the answer some more is read before the close.
 */
const LINGER_BYTES_MAX = 8 * 1024 * 1024;
const LINGER_TIMEOUT_MS = 1_000;
/** Answers up to this size are sent in one write with their headers. */
const ONE_WRITE_BYTES_MAX = 1_024;

export class HttpListener {
  private readonly server: Server;
  private readonly router: HttpRouter;
  private readonly bodyBytesMax: number;
  private readonly sockets = new Set<Socket>();
  /** Requests that are not answered yet. */
  private readonly open = new Set<IncomingMessage>();
  private draining = false;

  constructor(private readonly options: HttpListenerOptions) {
    if (options.adapters.length === 0) throw new Error('an HTTP listener needs an adapter');
    this.router = new HttpRouter(options.adapters);
    this.bodyBytesMax = options.bodyBytesMax ?? LIMITS.requestBytesMax;
    const requestTimeout = options.requestTimeoutMs ?? 60_000;
    const headersTimeout = Math.min(options.headersTimeoutMs ?? 10_000, requestTimeout);
    this.server = createServer({
      maxHeaderSize: LIMITS.httpHeaderBytesMax,
      headersTimeout,
      requestTimeout,
      keepAliveTimeout: options.keepAliveTimeoutMs ?? 75_000,
      connectionsCheckingInterval: Math.min(Math.max(Math.floor(headersTimeout / 4), 50), 2_500),
      noDelay: true,
    });
    if (options.connectionsMax !== undefined) this.server.maxConnections = options.connectionsMax;
    this.server.on('connection', (socket) => {
      this.sockets.add(socket);
      socket.once('close', () => this.sockets.delete(socket));
    });
    this.server.on('request', (req, res) => this.accept(req, res, false));
    this.server.on('checkContinue', (req, res) => this.accept(req, res, true));
  }

  /** Resolves with `host:port` once connections are accepted; rejects when the address cannot be had. */
  async start(): Promise<string> {
    const { host, port } = this.options;
    this.server.listen(port, host);
    await once(this.server, 'listening');
    this.server.on('error', (error) => this.options.logger.error({ err: error }, 'http listener failed'));
    const address = this.server.address() as AddressInfo;
    return address.family === 'IPv6' ? `[${address.address}]:${address.port}` : `${address.address}:${address.port}`;
  }

  /** Stops accepting, lets open requests finish for `graceMs`, then closes what is left. */
  async stop(graceMs: number): Promise<void> {
    this.draining = true;
    if (!this.server.listening) return;
    const closed = once(this.server, 'close');
    this.server.close();
    // Node's own idea of an idle connection leaves out those that have not sent a whole request yet.
    const busy = new Set([...this.open].map((req) => req.socket));
    for (const socket of this.sockets) if (!busy.has(socket)) socket.destroySoon();
    const timer = setTimeout(() => this.server.closeAllConnections(), graceMs);
    await closed;
    clearTimeout(timer);
  }

  /** Whatever goes wrong becomes an answer, or the end of the connection. */
  private accept(req: IncomingMessage, res: ServerResponse, expectsContinue: boolean): void {
    this.open.add(req);
    this.serve(req, res, expectsContinue)
      .catch((error: unknown) => {
        this.options.logger.error({ err: error }, 'answering a request failed');
        res.destroy();
      })
      .finally(() => this.open.delete(req));
  }

  private async serve(req: IncomingMessage, res: ServerResponse, expectsContinue: boolean): Promise<void> {
    const path = pathOf(req.url ?? '/');
    let adapter = this.adapterFor(path, req.headers);
    const body = { asked: false };
    const headers: string[] = [];
    try {
      const match = this.router.find(req.method ?? '', path);
      if (match !== undefined) adapter = match.adapter;
      const reply = await this.handle(match, path, req, headers, (reserve) => {
        const begin = (): void => {
          body.asked = true;
          if (expectsContinue) res.writeContinue();
        };
        return readBody(req, { limitBytes: this.bodyBytesMax, reserve, begin });
      });
      await this.send(req, res, reply, headers, expectsContinue && !body.asked);
    } catch (reason) {
      const error = this.explain(reason, path);
      if (res.headersSent || res.destroyed) {
        res.destroy();
        return;
      }
      const retryAfter = retryAfterSeconds(error);
      if (retryAfter !== undefined) headers.push('Retry-After', retryAfter);
      if (error.code === 'unsupported_encoding') headers.push('Accept-Encoding', 'gzip, deflate, zstd, snappy');
      await this.send(req, res, adapter.renderError(error, req.headers), headers, expectsContinue && !body.asked);
    }
  }

  private async handle(
    match: ReturnType<HttpRouter['find']>,
    path: string,
    req: IncomingMessage,
    headers: string[],
    read: HttpExchange['readBody'],
  ): Promise<HttpReply> {
    if (match === undefined) throw new IngestError('not_found', 'no such path');
    if ('allow' in match) {
      headers.push('Allow', match.allow);
      throw new IngestError('method_not_allowed', `method must be ${match.allow}`);
    }
    const transfer = req.headers['transfer-encoding'];
    if (transfer !== undefined && transfer.toLowerCase() !== 'chunked') {
      throw new IngestError('unimplemented', 'transfer-encoding must be chunked');
    }
    if (this.options.authorize !== undefined) await this.options.authorize(path, req.headers);
    return match.route.handle(exchangeOf(match, req, read));
  }

  private adapterFor(path: string, headers: IncomingHttpHeaders): HttpAdapter {
    const { adapters } = this.options;
    return adapters.find((adapter) => adapter.claims(path, headers)) ?? adapters[adapters.length - 1];
  }

  private explain(reason: unknown, path: string): IngestError {
    const error = IngestError.from(reason);
    if (error.code === 'internal') this.options.logger.error({ err: error.cause ?? error, path }, 'request failed');
    return error;
  }

  private async send(
    req: IncomingMessage,
    res: ServerResponse,
    reply: HttpReply,
    extra: readonly string[],
    bodyHeldBack: boolean,
  ): Promise<void> {
    const bodyBytes = typeof reply.body === 'string' ? Buffer.byteLength(reply.body) : reply.body.byteLength;
    const headers = ['Content-Type', reply.contentType, 'Content-Length', String(bodyBytes), ...(reply.headers ?? []), ...extra];
    if (res.destroyed) return;
    const complete = req.complete || (!bodyHeldBack && (await discardSmallRest(req)));
    if (res.destroyed) return;
    if (complete && !this.draining) {
      endWith(res.writeHead(reply.status, headers), reply.body);
      return;
    }
    // The client may be gone by now; what it then says about writing to it is of no interest.
    res.on('error', () => undefined);
    headers.push('Connection', 'close');
    res.writeHead(reply.status, headers);
    if (!complete && !bodyHeldBack) {
      res.write(reply.body);
      await discardBody(req, LINGER_BYTES_MAX, LINGER_TIMEOUT_MS);
      res.end();
    } else {
      res.end(reply.body);
    }
  }
}

function exchangeOf(match: RouteMatch, req: IncomingMessage, read: HttpExchange['readBody']): HttpExchange {
  return {
    method: req.method ?? '',
    param: match.param,
    // Few requests have one: parsed when it is asked for.
    get query() {
      return queryOf(req.url ?? '/');
    },
    headers: req.headers,
    client: clientOfAddress(req.socket.remoteAddress),
    readBody: read,
  };
}

/**
 * Node sends headers and a string in one write, headers and bytes in two gathered by writev, which costs almost half as much as
 * as much again as the rest of a small request (bench/adapters.ts: 37,000 instead of 30,000 requests of 5 KB per CPU-second).
 */
function endWith(res: ServerResponse, body: Uint8Array | string): void {
  if (body.length === 0) res.end();
  else if (typeof body === 'string' || body.length > ONE_WRITE_BYTES_MAX) res.end(body);
  else res.end(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('latin1'), 'latin1');
}

/** True when the rest of the body was little enough to be read away. */
function discardSmallRest(req: IncomingMessage): Promise<boolean> {
  const rest = declaredLength(req);
  if (rest === 0) return Promise.resolve(true);
  if (rest !== undefined && rest > DISCARD_BYTES_MAX) return Promise.resolve(false);
  return discardBody(req, DISCARD_BYTES_MAX, DISCARD_TIMEOUT_MS);
}
