/** An HTTP proxy in front of a store that breaks requests and answers on purpose. */
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export const HTTP_FAULTS = [
  'none',
  /** Forwarded a little later. */
  'delay',
  /** The connection breaks before anything is forwarded. */
  'cut before',
  /** The whole request is forwarded and the connection breaks at once. */
  'cut after forward',
  /** The store has answered and the connection breaks before a byte of it. */
  'cut before answer',
  /** The connection breaks in the middle of an answer with status 200. */
  'cut in answer',
  /** Status 500 without an exception, after the store has done the work. */
  'error after effect',
  /** Status 503, nothing is forwarded. */
  'refuse',
  /** Status 200 with an exception as its body, after the store has done the work. */
  'exception in body',
  /** Status 200 with an exception code in a header, after the store has done the work. */
  'exception in header',
  /** Status 200 as after a success, but nothing is forwarded. */
  'false success',
  /** Nothing is forwarded and nothing is answered. */
  'silence',
  /** The store has done the work and its answer is kept back. */
  'swallow answer',
] as const;
export type HttpFault = (typeof HTTP_FAULTS)[number];

const EXCEPTION = 'Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)';
const DELAY_MS = 20;

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

export class HttpFaultProxy {
  /** Chooses what happens to a request; `url` has the query parameters. */
  next: (url: URL) => HttpFault = () => 'none';
  /** Called when the store has answered a request whose connection breaks then. */
  onAnswer: () => void = () => undefined;
  /** How often each fault has happened. */
  readonly seen = new Map<HttpFault, number>();
  private readonly server = http.createServer((request, response) => void this.handle(request, response));
  private readonly agent = new http.Agent({ keepAlive: true });

  /** `target`: the store's origin; may be changed when the store has moved. */
  constructor(public target: string) {
    this.server.keepAliveTimeout = 10_000;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return this.url;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.agent.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private async handle(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const fault = this.next(new URL(request.url!, this.target));
      this.seen.set(fault, (this.seen.get(fault) ?? 0) + 1);
      await this.apply(fault, request, response, Buffer.concat(chunks));
    } catch {
      response.destroy();
    }
  }

  private async apply(
    fault: HttpFault,
    request: http.IncomingMessage,
    response: http.ServerResponse,
    body: Buffer,
  ): Promise<void> {
    if (fault === 'cut before') return void response.destroy();
    if (fault === 'silence') return;
    if (fault === 'refuse') return void response.writeHead(503).end('try later');
    if (fault === 'false success') return void response.writeHead(200).end();
    if (fault === 'delay') await new Promise((resolve) => setTimeout(resolve, DELAY_MS));
    const answer = this.forward(request, body);
    if (fault === 'cut after forward') {
      response.destroy();
      await answer;
      return;
    }
    const answered = await answer;
    if (fault === 'cut before answer') this.onAnswer();
    respond(fault, response, answered);
  }

  private forward(request: http.IncomingMessage, body: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const headers = { ...request.headers, host: new URL(this.target).host, 'content-length': String(body.length) };
      delete (headers as http.IncomingHttpHeaders)['transfer-encoding'];
      const { method, url } = request;
      const upstream = http.request(new URL(url!, this.target), { method: method!, headers, agent: this.agent }, (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('error', reject);
        answer.on('end', () => resolve({ status: answer.statusCode!, headers: answer.headers, body: Buffer.concat(chunks) }));
      });
      upstream.on('error', reject);
      upstream.end(body);
    });
  }
}

function respond(fault: HttpFault, response: http.ServerResponse, answer: Answer): void {
  if (fault === 'cut before answer') return void response.destroy();
  if (fault === 'swallow answer') return;
  if (fault === 'error after effect') return void response.writeHead(500).end('upstream failed');
  if (fault === 'exception in body') return void response.writeHead(200).end(EXCEPTION);
  if (fault === 'exception in header') {
    return void response.writeHead(200, { 'x-clickhouse-exception-code': '241' }).end(EXCEPTION);
  }
  if (fault === 'cut in answer') {
    response.writeHead(200, { 'content-length': String(answer.body.length + 10) });
    response.write(Buffer.concat([answer.body, Buffer.from('\n')]), () => response.destroy());
    return;
  }
  const { 'transfer-encoding': _chunked, connection: _connection, 'content-length': _length, ...headers } = answer.headers;
  response.writeHead(answer.status, headers).end(answer.body);
}
