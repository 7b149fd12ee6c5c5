/** A gRPC client on bare HTTP/2, for what a well-behaved library would never send. */
import { once } from 'node:events';
import { type ClientHttp2Session, type ClientHttp2Stream, connect, type IncomingHttpHeaders } from 'node:http2';

export interface RawAnswer {
  /** Response headers. */
  readonly headers: IncomingHttpHeaders;
  /** The trailers, or the headers of an answer that is trailers only. */
  readonly trailers: IncomingHttpHeaders;
  readonly trailersOnly: boolean;
  readonly body: Buffer;
  readonly rstCode: number;
}

/** One message with its prefix. */
export function frame(message: Uint8Array, flag = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

export class RawGrpcClient {
  private constructor(readonly session: ClientHttp2Session) {}

  static async open(address: string): Promise<RawGrpcClient> {
    const session = connect(`http://${address}`);
    session.on('error', () => undefined);
    await once(session, 'connect');
    return new RawGrpcClient(session);
  }

  call(path: string, headers: Record<string, string | string[]> = {}): RawCall {
    const stream = this.session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
    return new RawCall(stream);
  }

  /** A whole unary call. */
  async unary(path: string, body: Uint8Array, headers: Record<string, string | string[]> = {}): Promise<RawAnswer> {
    const call = this.call(path, headers);
    call.stream.end(body);
    return call.answer;
  }

  close(): void {
    this.session.destroy();
  }
}

export class RawCall {
  readonly answer: Promise<RawAnswer>;

  constructor(readonly stream: ClientHttp2Stream) {
    let headers: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders | undefined;
    const chunks: Buffer[] = [];
    stream.on('response', (received) => (headers = received));
    stream.on('trailers', (received) => (trailers = received));
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', () => undefined);
    this.answer = new Promise((resolve) => {
      stream.on('close', () => {
        const trailersOnly = trailers === undefined;
        resolve({
          headers,
          trailers: trailers ?? headers,
          trailersOnly,
          body: Buffer.concat(chunks),
          rstCode: stream.rstCode ?? -1,
        });
      });
    });
  }
}
