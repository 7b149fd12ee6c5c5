/** The HTTP listener with real sockets: bounds in bytes and time, connections after errors, strict parsing, stop. */
import { Agent } from 'node:http';
import type { HttpAdapter, HttpExchange } from '../../src/adapters/http-contract';
import { HttpListener, type HttpListenerOptions } from '../../src/adapters/http-listener';
import { IngestError } from '../../src/core/errors';
import { silentLogger } from '../../src/telemetry';
import { Gate } from '../support/gate';
import { RawConnection, send } from '../support/http-client';

const LIMIT = 200_000;

const lengthOf = async (exchange: HttpExchange): Promise<string> => `${(await exchange.readBody(() => undefined)).length} bytes`;

/** Answers with the length of what it got. */
function echo(handle?: (exchange: HttpExchange) => Promise<string>): HttpAdapter {
  const answer = handle ?? lengthOf;
  return {
    routes: [
      {
        method: 'POST',
        path: '/echo',
        handle: async (exchange) => ({ status: 200, contentType: 'text/plain', body: await answer(exchange) }),
      },
      {
        method: 'POST',
        path: '/named/:name',
        handle: async ({ param }) => ({ status: 200, contentType: 'text/plain', body: param }),
      },
      {
        method: 'POST',
        path: '/unread',
        handle: () => Promise.reject(new IngestError('permission_denied', 'not today')),
      },
    ],
    claims: () => true,
    renderError: (error) => ({
      status: error.code === 'payload_too_large' ? 413 : error.code === 'not_found' ? 404 : 400,
      contentType: 'text/plain',
      body: error.code,
    }),
  };
}

let listener: HttpListener;
let address: string;
async function listen(options: Partial<HttpListenerOptions> = {}, adapter = echo()): Promise<void> {
  listener = new HttpListener({
    host: '127.0.0.1',
    port: 0,
    adapters: [adapter],
    logger: silentLogger(),
    bodyBytesMax: LIMIT,
    ...options,
  });
  address = await listener.start();
}
afterEach(() => listener.stop(0));

const head = (lines: readonly string[]): string => `${['POST /echo HTTP/1.1', 'Host: x', ...lines].join('\r\n')}\r\n\r\n`;

describe('routes', () => {
  it('finds exact paths, without query, and in absolute form', async () => {
    await listen();
    expect((await send(address, '/echo?x=/y', { body: 'abc' })).body.toString()).toBe('3 bytes');
    const raw = await RawConnection.open(address);
    raw.socket.write('POST http://x/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab');
    await raw.receives(/2 bytes/);
    raw.socket.destroy();
  });

  it('decodes the parameter of a path and refuses what is no percent-encoding', async () => {
    await listen();
    expect((await send(address, '/named/a%2Fb%20c')).body.toString()).toBe('a/b c');
    expect((await send(address, '/named/%zz')).body.toString()).toBe('invalid_argument');
    expect((await send(address, '/named/')).status).toBe(404);
    expect((await send(address, '/named/a/b')).status).toBe(404);
  });

  it('OH15: names the allowed method where another is used', async () => {
    await listen();
    const answer = await send(address, '/echo', { method: 'GET' });
    expect([answer.body.toString(), answer.headers.allow]).toEqual(['method_not_allowed', 'POST']);
  });

  it('refuses at start two adapters that serve the same path', () => {
    const options = { host: '127.0.0.1', port: 0, logger: silentLogger() };
    expect(() => new HttpListener({ ...options, adapters: [echo(), echo()] })).toThrow(/two adapters/);
  });

  it('asks the authorization hook before the body is read', async () => {
    await listen({
      authorize: (_, headers) => {
        if (headers.authorization !== 'Bearer t') throw new IngestError('unauthenticated', 'no token');
      },
    });
    expect((await send(address, '/echo', { body: 'abc' })).body.toString()).toBe('unauthenticated');
    expect((await send(address, '/echo', { body: 'abc', headers: { authorization: 'Bearer t' } })).body.toString()).toBe(
      '3 bytes',
    );
  });
});

describe('bodies', () => {
  it('OH16: reads a chunked body without Content-Length', async () => {
    await listen();
    const pieces = Array.from({ length: 20 }, (_, i) => Buffer.alloc(1000 + i, 'x'));
    expect((await send(address, '/echo', { body: pieces })).body.toString()).toBe('20190 bytes');
  });

  it('OH10: takes a body of exactly the limit and refuses one byte more, of known and unknown length', async () => {
    await listen();
    expect((await send(address, '/echo', { body: Buffer.alloc(LIMIT) })).body.toString()).toBe(`${LIMIT} bytes`);
    expect((await send(address, '/echo', { body: [Buffer.alloc(LIMIT)] })).body.toString()).toBe(`${LIMIT} bytes`);
    expect((await send(address, '/echo', { body: Buffer.alloc(LIMIT + 1) })).status).toBe(413);
    expect((await send(address, '/echo', { body: [Buffer.alloc(LIMIT), Buffer.alloc(1)] })).status).toBe(413);
  });

  it('answers a client that declares too much before it sends anything', async () => {
    await listen();
    const raw = await RawConnection.open(address);
    raw.socket.write(head(['Content-Length: 99999999999']));
    await raw.receives(/^HTTP\/1.1 413 [\s\S]*payload_too_large/);
    await raw.closed();
    expect(raw.received).toMatch(/Connection: close/i);
  });

  it('sends 100 Continue when it is ready for the body, and the refusal instead when it is not', async () => {
    await listen();
    const raw = await RawConnection.open(address);
    raw.socket.write(head(['Content-Length: 3', 'Expect: 100-continue']));
    await raw.receives(/^HTTP\/1.1 100 Continue\r\n\r\n/);
    raw.socket.write('abc');
    await raw.receives(/3 bytes/);
    raw.socket.destroy();
    const refused = await RawConnection.open(address);
    refused.socket.write(head(['Content-Length: 999999', 'Expect: 100-continue']));
    await refused.closed();
    expect(refused.received).toMatch(/^HTTP\/1.1 413 /);
  });

  it('tells the reader about room before it takes it, in growing steps', async () => {
    const steps: number[] = [];
    await listen(
      {},
      echo(async (exchange) => `${(await exchange.readBody((total) => steps.push(total))).length} bytes`),
    );
    const pieces = Array.from({ length: 10 }, () => Buffer.alloc(15_000));
    expect((await send(address, '/echo', { body: pieces })).body.toString()).toBe('150000 bytes');
    expect(steps[0]).toBe(64 * 1024);
    expect(steps).toEqual([...steps].sort((a, b) => a - b));
    expect(steps.at(-1)).toBeGreaterThanOrEqual(150_000);
    expect(steps.at(-1)).toBeLessThanOrEqual(LIMIT);
  });

  it('gives up on a client that goes away in the middle', async () => {
    let failure: Promise<unknown> | undefined;
    const gate = new Gate();
    await listen(
      {},
      echo((exchange) => {
        const body = exchange.readBody(() => void gate.pass());
        failure = body.catch((error: unknown) => error);
        return body.then(String);
      }),
    );
    const raw = await RawConnection.open(address);
    raw.socket.write(`${head(['Content-Length: 1000'])}abc`);
    await gate.arrived;
    raw.socket.destroy();
    expect(await failure).toMatchObject({ code: 'cancelled' });
  });
});

describe('connections after an error', () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  afterAll(() => agent.destroy());

  it('OH17: keeps the connection when the rest of the body is small', async () => {
    await listen();
    const raw = await RawConnection.open(address);
    for (const [path, code] of [
      ['/nowhere', 404],
      ['/unread', 400],
      ['/echo', 200],
    ] as const) {
      raw.received = '';
      raw.socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\n${'x'.repeat(30_000)}`);
      await raw.receives(new RegExp(`^HTTP/1.1 ${code} [\\s\\S]*\r\n\r\n`));
      expect(raw.received).not.toMatch(/Connection: close/i);
    }
    raw.received = '';
    raw.socket.write('POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n');
    await raw.receives(/^HTTP\/1.1 404 [\s\S]*not_found/);
    expect(raw.received).not.toMatch(/Connection: close/i);
    raw.socket.destroy();
  });

  it('OH17: closes the connection when the rest is large, and the client still gets the answer', async () => {
    await listen();
    for (let i = 0; i < 5; i++) {
      const answer = await send(address, '/unread', { body: Buffer.alloc(3_000_000) });
      expect([answer.body.toString(), answer.headers.connection]).toEqual(['permission_denied', 'close']);
    }
  });

  it('OH17: serves the next request of an agent after each error', async () => {
    await listen();
    for (const body of [Buffer.alloc(LIMIT + 1), Buffer.alloc(10), Buffer.alloc(1_000_000), Buffer.alloc(5)]) {
      const refused = body.length > LIMIT;
      expect((await send(address, '/echo', { body, agent })).status).toBe(refused ? 413 : 200);
    }
  });

  it('OH17: answers many requests at a time', async () => {
    await listen();
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, i) => send(address, i % 3 === 0 ? '/nowhere' : '/echo', { body: Buffer.alloc(i) })),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 200 }, (_, i) => (i % 3 === 0 ? 404 : 200)));
  });
});

describe('time', () => {
  it('cuts off a client that sends its headers too slowly, and one that sends nothing', async () => {
    await listen({ headersTimeoutMs: 200, requestTimeoutMs: 200 });
    const slow = await RawConnection.open(address);
    const silent = await RawConnection.open(address);
    slow.socket.write('POST /echo HTTP/1.1\r\nHost: x\r\nX-A');
    await Promise.all([slow.closed(), silent.closed()]);
    expect(slow.received).toMatch(/^HTTP\/1.1 408 /);
  });

  it('cuts off a client that sends its body too slowly, and gives its room back', async () => {
    let failure: Promise<unknown> | undefined;
    await listen(
      { headersTimeoutMs: 200, requestTimeoutMs: 300 },
      echo((exchange) => {
        const body = exchange.readBody(() => undefined);
        failure = body.catch((error: unknown) => error);
        return body.then(String);
      }),
    );
    const raw = await RawConnection.open(address);
    raw.socket.write(head(['Content-Length: 100']));
    const drip = setInterval(() => raw.socket.write('x'), 20);
    await raw.closed();
    clearInterval(drip);
    expect(await failure).toMatchObject({ code: 'cancelled' });
  });
});

describe('strict parsing (request smuggling)', () => {
  const attacks: [string, string][] = [
    ['Content-Length with Transfer-Encoding', 'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['two different lengths', 'Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde'],
    ['a length that is no number', 'Content-Length: 4x\r\n\r\nabcd'],
    ['a negative length', 'Content-Length: -1\r\n\r\nabcd'],
    ['an obsolete folded header', 'Content-Length: 0\r\nX-A: b\r\n c\r\n\r\n'],
    ['a space before the colon', 'Content-Length : 4\r\n\r\nabcd'],
    ['a bare line feed in the headers', 'Content-Length: 4\nX: y\r\n\r\nabcd'],
    ['an invalid chunk size', 'Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n'],
    ['a chunk without its line end', 'Transfer-Encoding: chunked\r\n\r\n3\r\nabcX0\r\n\r\n'],
    ['chunked that is not last', 'Transfer-Encoding: chunked, gzip\r\n\r\n3\r\nabc\r\n0\r\n\r\n'],
    ['a NUL in a header', 'X-A: a\0b\r\nContent-Length: 0\r\n\r\n'],
  ];
  it.each(attacks)('refuses %s and closes the connection', async (_, rest) => {
    await listen();
    const raw = await RawConnection.open(address);
    raw.socket.write(`POST /echo HTTP/1.1\r\nHost: x\r\n${rest}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n`);
    await raw.closed();
    expect(raw.received).toMatch(/^HTTP\/1.1 [45]0[01] /);
    expect(raw.received).not.toMatch(/HTTP\/1.1 404/);
  });

  it('refuses a transfer coding other than chunked', async () => {
    await listen();
    const raw = await RawConnection.open(address);
    raw.socket.write(head(['Transfer-Encoding: gzip, chunked']) + '3\r\nabc\r\n0\r\n\r\n');
    await raw.receives(/unimplemented/);
    expect(raw.received).toMatch(/^HTTP\/1.1 400 /);
    raw.socket.destroy();
  });

  it('GR11: refuses headers over the limit with 431', async () => {
    await listen();
    const raw = await RawConnection.open(address);
    raw.socket.write(head([`X-Large: ${'y'.repeat(20_000)}`]));
    await raw.closed();
    expect(raw.received).toMatch(/^HTTP\/1.1 431 /);
  });

  it('does not speak HTTP/2 with prior knowledge on this port', async () => {
    await listen();
    const raw = await RawConnection.open(address);
    raw.socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    await raw.closed();
    expect(raw.received).toMatch(/^HTTP\/1.1 (400|505) /);
  });
});

describe('stop', () => {
  it('finishes open requests, closes idle connections and takes no more', async () => {
    const gate = new Gate();
    await listen(
      {},
      echo(async (exchange) => {
        const body = await exchange.readBody(() => undefined);
        await gate.pass();
        return `${body.length} bytes`;
      }),
    );
    const idle = await RawConnection.open(address);
    const answer = send(address, '/echo', { body: 'abc', agent: new Agent({ keepAlive: true }) });
    await gate.arrived;
    const stopped = listener.stop(20_000);
    await idle.closed();
    await expect(send(address, '/echo', { body: 'x' })).rejects.toThrow(/ECONNREFUSED/);
    gate.open();
    expect((await answer).headers.connection).toBe('close');
    await stopped;
  });

  it('cuts what is still open after the grace period', async () => {
    const gate = new Gate();
    await listen(
      {},
      echo(async (exchange) => {
        void gate.pass();
        return String(await exchange.readBody(() => undefined));
      }),
    );
    const raw = await RawConnection.open(address);
    raw.socket.write(`${head(['Content-Length: 10'])}abc`);
    await gate.arrived;
    await listener.stop(50);
    await raw.closed();
    expect(raw.received).toBe('');
  });

  it('rejects the start when the port is taken', async () => {
    await listen();
    const other = new HttpListener({
      host: '127.0.0.1',
      port: Number(address.split(':')[1]),
      adapters: [echo()],
      logger: silentLogger(),
    });
    await expect(other.start()).rejects.toThrow(/EADDRINUSE/);
    await other.stop(0);
  });
});
