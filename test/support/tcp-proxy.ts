/** A TCP proxy in front of a server that cuts connections on purpose. */

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** What happens to the next connection on which it can happen; then the proxy forwards everything again. */
export type TcpFault =
  /** The bytes that hold `marker` are not forwarded and the connection breaks. */
  | { kind: 'lose request'; marker: string }
  /** The bytes that hold `marker` are forwarded; the connection breaks when the answer to them comes, which is not forwarded. */
  | { kind: 'lose answer'; marker: string }
  /** The connection breaks after that many more bytes in this direction. */
  | { kind: 'cut after'; direction: 'to server' | 'to client'; bytes: number };

export class TcpProxy {
  private fault: TcpFault | undefined;
  private readonly sockets = new Set<Socket>();
  /** Faults that took effect. */
  cuts = 0;
  /** Called when one takes effect, before the connection breaks. */
  onCut: () => void = () => undefined;

  private constructor(
    private readonly server: Server,
    private target: number,
  ) {}

  static async start(targetPort: number): Promise<TcpProxy> {
    const server = createServer();
    const proxy = new TcpProxy(server, targetPort);
    server.on('connection', (socket) => proxy.serve(socket));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** The URL of the server behind, with the proxy's address in it. */
  urlFor(url: string): string {
    const changed = new URL(url);
    changed.port = String(this.port);
    return changed.href;
  }

  arm(fault: TcpFault): void {
    this.fault = fault;
  }

  disarm(): void {
    this.fault = undefined;
  }

  /** Sends new connections to another port. */
  retarget(port: number): void {
    this.target = port;
  }

  cutAll(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    const closed = once(this.server, 'close');
    this.server.close();
    this.cutAll();
    await closed;
  }

  private serve(client: Socket): void {
    const server = connect(this.target, '127.0.0.1');
    /** This connection waits for the answer that it will lose. */
    let losing = false;
    const cut = (): void => {
      client.destroy();
      server.destroy();
    };
    const trip = (): void => {
      this.cuts++;
      this.fault = undefined;
      this.onCut();
      cut();
    };
    for (const socket of [client, server]) {
      this.sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.sockets.delete(socket);
        cut();
      });
    }
    const pass = (chunk: Buffer, direction: 'to server' | 'to client', to: Socket): void => {
      const { fault } = this;
      if (losing && direction === 'to client') {
        trip();
        return;
      }
      if (fault?.kind === 'cut after' && fault.direction === direction) {
        if (chunk.length >= fault.bytes) {
          to.write(chunk.subarray(0, fault.bytes), trip);
          this.fault = undefined;
          return;
        }
        fault.bytes -= chunk.length;
      } else if (fault !== undefined && fault.kind !== 'cut after' && direction === 'to server' && chunk.includes(fault.marker)) {
        if (fault.kind === 'lose request') {
          trip();
          return;
        }
        losing = true;
      }
      to.write(chunk);
    };
    client.on('data', (chunk) => pass(chunk, 'to server', server));
    server.on('data', (chunk) => pass(chunk, 'to client', client));
  }
}
