/**
 * A Flight client on grpc-js whose messages are made by protobufjs from the interface files, and whose batches are made by
 * apache-arrow: nothing of the server's own encoders.
 */
import { join } from 'node:path';
import {
  type CallOptions,
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  credentials,
  Metadata,
  type ServiceError,
  type StatusObject,
} from '@grpc/grpc-js';
import { Message, RecordBatchReader, type Table, tableToIPC } from 'apache-arrow';
import { Root } from 'protobufjs';

const root = new Root();
root.resolvePath = (_origin, target) => (target.startsWith('google/') ? target : join(__dirname, '../../proto', target));
root.loadSync(['Flight', 'FlightSql'].map((name) => `arrow/flight/protocol/${name}.proto`));
root.resolveAll();

const SERVICE = 'arrow.flight.protocol';
const asBytes = (bytes: Buffer): Buffer => bytes;
const bufferOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

/** A message of Flight or (`sql.`) Flight SQL. */
export function flightMessage(type: string, value: object): Buffer {
  const found = root.lookupType(`${SERVICE}.${type}`);
  return bufferOf(found.encode(found.fromObject(value)).finish());
}

// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows what the message is
export function flightObject<T>(type: string, bytes: Uint8Array): T {
  const found = root.lookupType(`${SERVICE}.${type}`);
  return found.toObject(found.decode(bytes), { longs: Number, enums: String, bytes: Buffer, defaults: true, arrays: true }) as T;
}

/** A Flight SQL message as google.protobuf.Any. */
export function sqlAny(name: string, value: object = {}): Buffer {
  const url = Buffer.from(`type.googleapis.com/${SERVICE}.sql.${name}`);
  const bytes = flightMessage(`sql.${name}`, value);
  const long = (length: number): number[] => (length < 128 ? [length] : [(length & 127) | 128, ...long(length >>> 7)]);
  return Buffer.concat([Buffer.from([0x0a, ...long(url.length)]), url, Buffer.from([0x12, ...long(bytes.length)]), bytes]);
}

export const pathDescriptor = (...path: string[]): object => ({ type: 'PATH', path });
export const commandDescriptor = (cmd: Buffer): object => ({ type: 'CMD', cmd });

export interface ArrowPart {
  readonly dataHeader: Buffer;
  readonly dataBody: Buffer;
}

/** The messages of an IPC stream, the schema first. */
export function ipcParts(stream: Uint8Array): ArrowPart[] {
  const bytes = bufferOf(stream);
  const parts: ArrowPart[] = [];
  for (let at = 0; at < bytes.length; ) {
    const headerBytes = bytes.readUInt32LE(at + 4);
    if (headerBytes === 0) break;
    const bodyAt = at + 8 + headerBytes;
    const dataHeader = bytes.subarray(at + 8, bodyAt);
    at = bodyAt + Message.decode(dataHeader).bodyLength;
    parts.push({ dataHeader, dataBody: bytes.subarray(bodyAt, at) });
  }
  return parts;
}

export const tableParts = (table: Table): ArrowPart[] => ipcParts(tableToIPC(table, 'stream'));

/** FlightData messages as an Arrow stream, read by apache-arrow. */
export function readFlightData(messages: readonly Buffer[]): RecordBatchReader {
  const pieces = messages.flatMap((message) => {
    const { dataHeader, dataBody } = flightObject<ArrowPart>('FlightData', message);
    const prefix = Buffer.alloc(8);
    prefix.writeUInt32LE(0xffffffff, 0);
    prefix.writeUInt32LE(dataHeader.length, 4);
    return [prefix, dataHeader, dataBody];
  });
  return RecordBatchReader.from(Buffer.concat(pieces));
}

export interface CallEnd {
  readonly code: number;
  readonly details: string;
  readonly trailers: Metadata;
}

/** One open DoPut, DoExchange or Handshake. */
export class FlightStream {
  readonly received: Buffer[] = [];
  /** Metadata that came before the messages. */
  headers: Metadata | undefined;
  readonly ended: Promise<CallEnd>;
  private readonly waiters = new Set<() => void>();

  constructor(readonly call: ClientDuplexStream<Buffer, Buffer>) {
    call.on('metadata', (headers: Metadata) => {
      this.headers = headers;
    });
    call.on('data', (message: Buffer) => {
      this.received.push(message);
      for (const wake of this.waiters) wake();
    });
    call.on('error', () => undefined);
    this.ended = new Promise((resolve) => {
      call.on('status', ({ code, details, metadata }: StatusObject) => resolve({ code, details, trailers: metadata }));
    });
  }

  /** Resolves when the message is handed to HTTP/2, which is when the server reads on. */
  send(data: object): Promise<void> {
    return this.sendRaw(flightMessage('FlightData', data));
  }

  sendRaw(message: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.call.write(message, (error?: Error | null) => (error ? reject(error) : resolve()));
    });
  }

  /** app_metadata of the results so far. */
  acks(): string[] {
    return this.received.map((message) => flightObject<{ appMetadata: Buffer }>('PutResult', message).appMetadata.toString());
  }

  /** Waits until this many results have come. */
  async results(count: number): Promise<void> {
    while (this.received.length < count) {
      await new Promise<void>((resolve, reject) => {
        const wake = (): void => {
          this.waiters.delete(wake);
          resolve();
        };
        this.waiters.add(wake);
        void this.ended.then(({ code, details }) =>
          reject(new Error(`ended with ${code} ${details} after ${this.received.length} results`)),
        );
      });
    }
  }

  finish(): Promise<CallEnd> {
    this.call.end();
    return this.ended;
  }
}

export class FlightTestClient {
  private readonly client: Client;

  constructor(address: string) {
    this.client = new Client(address, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_receive_message_length': -1,
    });
  }

  stream(method: 'DoPut' | 'DoExchange' | 'Handshake', headers: Record<string, string> = {}): FlightStream {
    return new FlightStream(this.client.makeBidiStreamRequest(pathOf(method), asBytes, asBytes, metadataOf(headers), OPTIONS()));
  }

  /** A whole unary call. Rejects with a ServiceError. */
  unary(method: string, request: Buffer, headers: Record<string, string> = {}): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const done = (error: ServiceError | null, value?: Buffer): void =>
        error === null ? resolve(value as Buffer) : reject(error);
      this.client.makeUnaryRequest(pathOf(method), asBytes, asBytes, request, metadataOf(headers), OPTIONS(), done);
    });
  }

  /** All messages of a server stream. Rejects with a ServiceError. */
  async list(method: string, request: Buffer, headers: Record<string, string> = {}): Promise<Buffer[]> {
    const call = this.serverStream(method, request, headers);
    const messages: Buffer[] = [];
    for await (const message of call) messages.push(message as Buffer);
    return messages;
  }

  /** An open DoGet. */
  read(request: Buffer): ClientReadableStream<Buffer> {
    return this.serverStream('DoGet', request, {});
  }

  private serverStream(method: string, request: Buffer, headers: Record<string, string>): ClientReadableStream<Buffer> {
    return this.client.makeServerStreamRequest(pathOf(method), asBytes, asBytes, request, metadataOf(headers), OPTIONS());
  }

  /** A stream of one table to a path, ended: its results and its end. */
  async put(
    table: Table,
    descriptor: object,
    headers: Record<string, string> = {},
  ): Promise<{ results: Buffer[]; end: CallEnd }> {
    const stream = this.stream('DoPut', headers);
    for (const [i, part] of tableParts(table).entries()) {
      void stream.send(i === 0 ? { flightDescriptor: descriptor, ...part } : part).catch(() => undefined);
    }
    const end = await stream.finish();
    return { results: stream.received, end };
  }

  close(): void {
    this.client.close();
  }
}

const OPTIONS = (): CallOptions => ({ deadline: Date.now() + 20_000 });
const pathOf = (method: string): string => `/${SERVICE}.FlightService/${method}`;

function metadataOf(headers: Record<string, string>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  return metadata;
}
