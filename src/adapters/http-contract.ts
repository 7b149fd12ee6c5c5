import type { IncomingHttpHeaders } from 'node:http';
import type { IngestError } from '../core/errors';

/** One request as a route sees it. */
export interface HttpExchange {
  readonly method: string;
  /** Percent-decoded value of the route's parameter; '' when it has none. */
  readonly param: string;
  /** The query of the request target. */
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** Whom shares of the server are counted for: the remote address, which all clients behind one proxy have in common. */
  readonly client: string;
  /**
   * Reads the whole body, at most once. `reserve` is called with the total of bytes that will be in memory, before they are;
   * what it throws ends the reading. Rejects with IngestError `payload_too_large` over the listener's limit and `cancelled` when
   * the client goes away.
   */
  readBody(reserve: (totalBytes: number) => void): Promise<Buffer>;
}

export interface HttpReply {
  readonly status: number;
  readonly contentType: string;
  readonly body: Uint8Array | string;
  /** Further headers, as name, value, name, value. */
  readonly headers?: readonly string[];
}

export interface HttpRoute {
  readonly method: 'GET' | 'POST';
  /** A path, or a path that ends in `/:name` for one more segment of any text. */
  readonly path: string;
  handle(exchange: HttpExchange): Promise<HttpReply>;
}

/** What a protocol registers at the HTTP listener. */
export interface HttpAdapter {
  readonly routes: readonly HttpRoute[];
  /** Whether a request that fits no route (404, 405) is to be answered in this protocol's words. */
  claims(path: string, headers: IncomingHttpHeaders): boolean;
  /** An error in the protocol's own form. The listener adds Retry-After, Allow and connection headers. */
  renderError(error: IngestError, headers: IncomingHttpHeaders): HttpReply;
}

/** Called before the body is read; throws IngestError to refuse the request. */
export type Authorize = (path: string, headers: IncomingHttpHeaders) => void | Promise<void>;
