/** Between Arrow IPC streams and FlightData: in Flight a message travels as its header and its body, without framing (FL3). */
import { RecordBatchReader, RecordBatchStreamWriter, type Schema, Table, tableToIPC } from 'apache-arrow';
import { FlatTable } from '../../columnar/flatbuffer';
import { IngestError } from '../../core/errors';
import { writeFlightData } from './messages';

const CONTINUATION = 0xffffffff;
const PREFIX_BYTES = 8;
const END_OF_STREAM_BYTES = 8;
const MESSAGE = { headerType: 1, bodyLength: 3 } as const;
const SCHEMA = 1;
/** Bodies above this are cut by rows: many clients take messages of 4 MiB at most. */
const BODY_BYTES_MAX = 2 * 1024 * 1024;

/** A schema as an encapsulated IPC message (FL12). */
export function schemaMessage(schema: Schema): Uint8Array {
  const stream = tableToIPC(new Table(schema), 'stream');
  return stream.subarray(0, stream.length - END_OF_STREAM_BYTES);
}

interface IpcMessage {
  readonly header: Buffer;
  readonly body: Buffer;
  readonly kind: number;
}

/** FlightData messages of the rows that the pieces hold, the schema first and once. Throws what `pieces` throws. */
export async function* flightMessages(pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Buffer> {
  let schema: Buffer | undefined;
  for await (const message of ipcMessages(pieces)) {
    if (message.kind === SCHEMA) {
      if (schema?.equals(message.header) === false) throw broken('the columns changed between two parts of the answer');
      if (schema === undefined) yield writeFlightData(message.header, message.body);
      schema = message.header;
    } else if (message.body.length <= BODY_BYTES_MAX || schema === undefined) {
      yield writeFlightData(message.header, message.body);
    } else {
      for (const part of cut(schema, message)) yield writeFlightData(part.header, part.body);
    }
  }
}

/** The schema of the pieces, encapsulated; the rest is left. Throws what `pieces` throws, and IngestError `internal`. */
export async function firstSchema(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  for await (const { kind, header } of ipcMessages(pieces)) if (kind === SCHEMA) return prefixed(header);
  throw broken('the answer of the store has no columns');
}

const broken = (what: string): IngestError => new IngestError('internal', what);

async function* ipcMessages(pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<IpcMessage> {
  let parts: Uint8Array[] = [];
  let sizeBytes = 0;
  let wantedBytes = PREFIX_BYTES;
  for await (const piece of pieces) {
    parts.push(piece);
    sizeBytes += piece.length;
    if (sizeBytes < wantedBytes) continue;
    let bytes: Buffer = Buffer.concat(parts);
    let next = takeMessage(bytes);
    for (; typeof next !== 'number'; next = takeMessage(bytes)) {
      bytes = bytes.subarray(next.sizeBytes);
      if (next.message !== undefined) yield next.message;
    }
    parts = [bytes];
    sizeBytes = bytes.length;
    wantedBytes = next;
  }
  if (sizeBytes > 0) throw broken('the answer of the store ends inside an arrow message');
}

/** The first message of the bytes, or none for an end of stream; the bytes needed to go on when it is not whole yet. */
function takeMessage(bytes: Buffer): { sizeBytes: number; message: IpcMessage | undefined } | number {
  if (bytes.length < PREFIX_BYTES) return PREFIX_BYTES;
  if (bytes.readUInt32LE(0) !== CONTINUATION) throw broken('the answer of the store is not an arrow stream');
  const headerBytes = bytes.readUInt32LE(4);
  if (headerBytes === 0) return { sizeBytes: PREFIX_BYTES, message: undefined };
  const bodyAt = PREFIX_BYTES + headerBytes;
  if (bytes.length < bodyAt) return bodyAt;
  const header = bytes.subarray(PREFIX_BYTES, bodyAt);
  const root = FlatTable.root(header);
  const sizeBytes = bodyAt + root.int64(MESSAGE.bodyLength);
  if (bytes.length < sizeBytes) return sizeBytes;
  const body = bytes.subarray(bodyAt, sizeBytes);
  return { sizeBytes, message: { header, body, kind: root.uint8(MESSAGE.headerType, 0) } };
}

/** The rows of one message in messages of about `BODY_BYTES_MAX`, at least one row each. */
function* cut(schema: Buffer, message: IpcMessage): Generator<IpcMessage> {
  const stream = Buffer.concat([prefixed(schema), prefixed(message.header), message.body]);
  for (const batch of RecordBatchReader.from(stream)) {
    const rows = Math.max(1, Math.floor((batch.numRows * BODY_BYTES_MAX) / message.body.length));
    for (let from = 0; from < batch.numRows; from += rows) {
      const writer = new RecordBatchStreamWriter();
      writer.write(batch.slice(from, from + rows));
      writer.finish();
      for (const part of wholeMessages(Buffer.from(writer.toUint8Array(true)))) if (part.kind !== SCHEMA) yield part;
    }
  }
}

function prefixed(header: Buffer): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32LE(CONTINUATION, 0);
  prefix.writeUInt32LE(header.length, 4);
  return Buffer.concat([prefix, header]);
}

function* wholeMessages(stream: Buffer): Generator<IpcMessage> {
  let bytes = stream;
  for (let next = takeMessage(bytes); typeof next !== 'number'; next = takeMessage(bytes)) {
    bytes = bytes.subarray(next.sizeBytes);
    if (next.message !== undefined) yield next.message;
  }
}
