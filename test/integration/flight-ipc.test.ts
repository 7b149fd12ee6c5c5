/** Foreign Arrow in Flight by the rules IP1-IP5: what is read, what is refused, and that neither is ever a crash. */
import {
  CompressionType,
  compressionRegistry,
  Dictionary,
  Int32,
  Int64,
  RecordBatchStreamWriter,
  Table,
  Utf8,
  vectorFromArray,
} from 'apache-arrow';
import { zstdStream } from '../support/compressed-arrow';
import { type ArrowPart, type CallEnd, ipcParts, pathDescriptor, tableParts } from '../support/flight-client';
import { type FlightServer, startFlight } from '../support/flight-server';
import { goldenStream, goldenValues } from '../support/golden-arrow';
import { plainRows } from '../support/plain-rows';

const OK = 0;
const INVALID = 3;
/** A batch that claims to have too many rows. */
const TOO_LARGE = 8;
const VERSION = { v3: 2, v4: 3, v5: 4 };
/** The union MessageHeader of Message.fbs, to find the version in a message that apache-arrow wrote. */
const SCHEMA_TYPE = 1;

let server: FlightServer;
beforeEach(async () => {
  server = await startFlight();
});
afterEach(async () => {
  await server.stop();
});

async function put(...parts: readonly object[]): Promise<CallEnd> {
  const stream = server.client.stream('DoPut');
  for (const [i, part] of parts.entries()) {
    void stream.send(i === 0 ? { flightDescriptor: pathDescriptor('cars'), ...part } : part).catch(() => undefined);
  }
  return stream.finish();
}
const stored = (name: string): unknown[] =>
  server.ingest.writes.flatMap(({ batches }) => batches.flatMap(({ batch }) => plainRows(batch).map((row) => row[name])));

/** An LZ4 frame of one stored block. */
function lz4Frame(bytes: Uint8Array): Uint8Array {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(0x80000000 + bytes.length);
  return Buffer.concat([Buffer.from('04224d18604082', 'hex'), size, bytes, Buffer.alloc(4)]);
}

/** A schema message without columns, byte by byte (Message.fbs, Schema.fbs). */
function schemaHeader(version: number, endianness: number): Buffer {
  const bytes = Buffer.alloc(48);
  const vtable = (at: number, ...words: number[]): void => {
    for (const [i, word] of words.entries()) bytes.writeUInt16LE(word, at + 2 * i);
  };
  bytes.writeUInt32LE(16, 0);
  vtable(4, 10, 12, 4, 6, 8);
  bytes.writeInt32LE(12, 16);
  bytes.writeInt16LE(version, 20);
  bytes[22] = SCHEMA_TYPE;
  bytes.writeUInt32LE(16, 24);
  vtable(30, 8, 8, 4, 0);
  bytes.writeInt32LE(10, 40);
  bytes.writeInt16LE(endianness, 44);
  return bytes;
}

it('IP1: dictionaries are used as they are at the time of each batch: first, replaced, of two columns with one id', async () => {
  const type = new Dictionary(new Utf8(), new Int32(), 7);
  const table = (texts: string[]): Table => {
    const column = vectorFromArray(texts, type);
    return new Table({ s: column, t: column });
  };
  const [schema, ...first] = tableParts(table(['a', 'b', 'a']));
  const [, ...second] = tableParts(table(['c', 'd', 'c']));
  expect(await put(schema, ...first, ...second)).toMatchObject({ code: OK });
  for (const name of ['s', 't']) expect(stored(name)).toEqual(['a', 'b', 'a', 'c', 'd', 'c']);
});

it('IP1: a batch without the dictionary that it refers to is refused', async () => {
  const [schema, , batch] = tableParts(new Table({ s: vectorFromArray(['a', 'b'], new Dictionary(new Utf8(), new Int32(), 7)) }));
  expect(await put(schema, batch)).toMatchObject({ code: INVALID });
  expect(server.ingest.writes).toHaveLength(0);
});

it('IP2: a compressed body is read', async () => {
  compressionRegistry.set(CompressionType.LZ4_FRAME, { encode: lz4Frame });
  const writer = new RecordBatchStreamWriter({ compressionType: CompressionType.LZ4_FRAME });
  writer.write(
    new Table({
      n: vectorFromArray(
        Array.from({ length: 1_000 }, () => 1n),
        new Int64(),
      ),
    }),
  );
  writer.finish();
  expect(await put(...ipcParts(writer.toUint8Array(true)))).toMatchObject({ code: OK });
  expect(stored('n')).toEqual(Array.from({ length: 1_000 }, () => 1n));
});

it('IP2: what a body unpacks to has its place in the budget of the server', async () => {
  const n = vectorFromArray(
    Array.from({ length: 100_000 }, () => 0n),
    new Int64(),
  );
  const parts = ipcParts(zstdStream(new Table({ n })));
  expect(await put(...parts)).toMatchObject({ code: OK });
  expect(stored('n')).toHaveLength(100_000);
  expect(parts.reduce((bytes, { dataBody }) => bytes + dataBody.length, 0)).toBeLessThan(10_000);
  expect(server.ingest.peakInFlightBytes).toBeGreaterThan(800_000);
  expect(server.ingest.inFlightBytes).toBe(0);
});

it.each(['lz4', 'zstd'])('IP2: the stream %s of pyarrow arrives', async (name) => {
  expect(await put(...ipcParts(goldenStream(name)))).toMatchObject({ code: OK });
  const { noise, text, tag } = goldenValues(name);
  expect(stored('noise').map(String)).toEqual(noise);
  expect(stored('text').map((value) => value ?? null)).toEqual(text);
  expect(stored('tag').map((value) => value ?? null)).toEqual(tag);
});

it('IP3: metadata of the versions V4 and V5 is read, an older one refused', async () => {
  for (const [name, version] of Object.entries(VERSION)) {
    const end = await put({ dataHeader: schemaHeader(version, 0) });
    expect([name, end.code]).toEqual([name, name === 'v3' ? INVALID : OK]);
  }
});

it('IP4: big-endian data is refused', async () => {
  const end = await put({ dataHeader: schemaHeader(VERSION.v5, 1) });
  expect(end).toMatchObject({ code: INVALID, details: expect.stringContaining('big-endian') as string });
});

it('IP5: whichever byte of a batch is changed, the call ends as taken, as invalid or as too large', async () => {
  const [schema, ...rest] = tableParts(
    new Table({
      s: vectorFromArray(['a', 'bc', 'a'], new Dictionary(new Utf8(), new Int32(), 7)),
      n: vectorFromArray([1n, null, 3n], new Int64()),
    }),
  );
  const parts: ArrowPart[] = [schema, ...rest];
  const codes = new Set<number>();
  for (const [i, { dataHeader, dataBody }] of parts.entries()) {
    const bytes = Buffer.concat([dataHeader, dataBody]);
    const changes = Array.from(bytes.keys()).filter((at) => at % 3 === 0);
    const ends = changes.map((at) => {
      const changed = Buffer.from(bytes);
      changed[at] ^= 0xff;
      const part = { dataHeader: changed.subarray(0, dataHeader.length), dataBody: changed.subarray(dataHeader.length) };
      return put(...parts.map((other, j) => (j === i ? part : other)));
    });
    for (const { code } of await Promise.all(ends)) codes.add(code);
  }
  expect([...codes].filter((code) => ![OK, INVALID, TOO_LARGE].includes(code))).toEqual([]);
  expect(codes).toContain(INVALID);
  expect(server.ingest.inFlightBytes).toBe(0);
});
