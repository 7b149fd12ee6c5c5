import { once } from 'node:events';
import { type Agent, type IncomingHttpHeaders, request } from 'node:http';
import { connect, type Socket } from 'node:net';

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface HttpRequestOptions {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  /** Pieces are sent with chunked transfer coding. */
  readonly body?: Uint8Array | string | readonly Uint8Array[];
  readonly agent?: Agent | false;
}

/** One request; a connection of its own unless an agent is given. */
export function send(address: string, path: string, options: HttpRequestOptions = {}): Promise<HttpAnswer> {
  const { method = 'POST', headers = {}, body, agent = false } = options;
  return new Promise((resolve, reject) => {
    const [host, port] = address.split(':') as [string, string];
    const pieces = Array.isArray(body) ? (body as readonly Uint8Array[]) : undefined;
    const length =
      pieces === undefined && body !== undefined ? { 'content-length': String(Buffer.byteLength(body as string)) } : {};
    const req = request({ host, port, path, method, headers: { ...length, ...headers }, agent }, (res) => {
      const chunks: Buffer[] = [];
      res.on('data', (chunk: Buffer) => chunks.push(chunk));
      res.on('end', () => resolve({ status: res.statusCode ?? 0, headers: res.headers, body: Buffer.concat(chunks) }));
      res.on('error', reject);
    });
    req.on('error', reject);
    if (pieces === undefined) {
      req.end(body);
      return;
    }
    for (const piece of pieces) req.write(piece);
    req.end();
  });
}

/** A raw connection that gathers what the server says. */
export class RawConnection {
  received = '';
  private constructor(readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => (this.received += chunk.toString('latin1')));
    socket.on('error', () => undefined);
  }

  static async open(address: string): Promise<RawConnection> {
    const [host, port] = address.split(':') as [string, string];
    const socket = connect({ host, port: Number(port), allowHalfOpen: true });
    await once(socket, 'connect');
    return new RawConnection(socket);
  }

  /** Resolves when the server closed its side. */
  async closed(): Promise<void> {
    if (!this.socket.readableEnded && !this.socket.destroyed) {
      await Promise.race([once(this.socket, 'end'), once(this.socket, 'close')]);
    }
    this.socket.destroy();
  }

  /** Resolves when the text received so far fits. */
  async receives(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.received)) {
      if (this.socket.readableEnded || this.socket.destroyed) throw new Error(`closed after: ${this.received}`);
      await Promise.race([once(this.socket, 'data'), once(this.socket, 'end'), once(this.socket, 'close')]);
    }
  }
}
