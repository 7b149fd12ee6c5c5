/**
 * Arrow from outside: IPC streams and Flight messages into record batches that can be trusted, or IngestError `invalid_argument`.
 * Nothing of it goes through the Arrow library's own reader, which takes much of what is broken for good data.
 * Read: metadata V4 and V5, framing with and without continuation marker, dictionaries with replacement and delta, bodies
 * compressed with LZ4 and Zstandard, several batches.
 * Refused: big endian, unions, intervals, run-end encoding, more rows or unpacked bytes than a request may have.
 */
import type { Data, RecordBatch } from 'apache-arrow';
import { FlatTable } from './flatbuffer';
import { BatchReader } from './foreign-batch';
import { readSource } from './foreign-body';
import { RequestBudget } from './foreign-budget';
import { type BatchSource, EMPTY_SOURCE } from './foreign-buffers';
import { ForeignDictionaries } from './foreign-dictionaries';
import { corrupt } from './foreign-error';
import { type ForeignField, readSchema } from './foreign-schema';
import { recordBatch } from './record-batch';

const MESSAGE = { version: 0, headerType: 1, header: 2, bodyLength: 3 } as const;
const HEADER = { schema: 1, dictionary: 2, batch: 3 } as const;
const DICTIONARY = { id: 0, data: 1, isDelta: 2 } as const;
const BATCH = { length: 0 } as const;
/** MetadataVersion of Schema.fbs. */
const VERSIONS: readonly number[] = [3, 4];

/** One stream of Arrow messages: knows its schema and its dictionaries. */
export class ForeignStream {
  private schema: readonly ForeignField[] | undefined;
  private readonly budget: RequestBudget;
  private readonly dictionaries: ForeignDictionaries;

  /** `reserve`: told how many bytes a request takes beside its own, in all, before they are allocated; refuses by throwing. */
  constructor(reserve?: (totalBytes: number) => void) {
    this.budget = new RequestBudget(reserve);
    this.dictionaries = new ForeignDictionaries(this.budget);
  }

  /** The columns; undefined before the schema message. */
  get fields(): readonly ForeignField[] | undefined {
    return this.schema;
  }

  /** Bytes of the dictionaries that are kept for the batches to come. */
  get dictionaryBytes(): number {
    return this.dictionaries.sizeBytes;
  }

  /** Bytes that were made from those of the request, and are not in it: decompressed ones above all. */
  get unpackedBytes(): number {
    return this.budget.unpackedBytes;
  }

  /** What the dictionaries hold, buffer by buffer, in the order of their ids. */
  *dictionaryBuffers(): Generator<Uint8Array> {
    for (const values of this.dictionaries.all()) yield* buffersOf(values);
  }

  /** Counts rows and unpacked bytes anew: in Flight each batch is a request of its own, the stream may be as long as it likes. */
  beginRequest(): void {
    this.budget.reset();
  }

  /**
   * Takes the next message: `header` is the flatbuffer without its length, `body` what follows it. The record batch, if it
   * was one; it may view `body`. Throws IngestError.
   */
  message(header: Uint8Array, body: Uint8Array): RecordBatch | undefined {
    const message = FlatTable.root(header);
    checkVersion(message);
    const content = message.table(MESSAGE.header);
    const kind = message.uint8(MESSAGE.headerType, 0);
    if (content === undefined) throw corrupt('a message has no content');
    const bodyBytes = message.int64(MESSAGE.bodyLength);
    if (bodyBytes !== body.length) throw corrupt(`a message has ${body.length} bytes of body where it says ${bodyBytes}`);
    if (kind === HEADER.schema) {
      if (this.schema !== undefined) throw corrupt('the stream has a second schema');
      this.schema = readSchema(content);
      this.dictionaries.describe(this.schema);
      return undefined;
    }
    if (this.schema === undefined) throw corrupt('the stream does not start with its schema');
    if (kind === HEADER.batch) return this.batch(content, body, this.schema);
    if (kind !== HEADER.dictionary) throw corrupt(`messages of kind ${kind} are not supported`);
    this.dictionary(content, body);
    return undefined;
  }

  private dictionary(content: FlatTable, body: Uint8Array): void {
    const id = content.int64(DICTIONARY.id);
    const field = this.dictionaries.fieldOf(id);
    const data = content.table(DICTIONARY.data);
    if (field === undefined || data === undefined) throw corrupt(`the dictionary ${id} belongs to no column`);
    const reader = this.reader(readSource(data, body, this.budget));
    const values = reader.plain(field, field.name);
    reader.finish();
    if (values.length !== data.int64(BATCH.length)) throw corrupt(`the dictionary ${id} does not have the length it says`);
    if (content.bool(DICTIONARY.isDelta)) this.dictionaries.append(id, values);
    else this.dictionaries.replace(id, values);
  }

  private batch(content: FlatTable, body: Uint8Array, fields: readonly ForeignField[]): RecordBatch {
    const length = content.int64(BATCH.length);
    if (length < 0) throw corrupt('a batch has a negative length');
    this.budget.takeRows(length);
    const reader = this.reader(readSource(content, body, this.budget));
    const columns = fields.map((field) => ({ name: field.name, data: reader.read(field, field.name, length) }));
    reader.finish();
    for (const { name, data } of columns) {
      if (data.length !== length) throw corrupt(`column ${name} has ${data.length} rows, the batch has ${length}`);
    }
    return recordBatch(columns);
  }

  private reader(source: BatchSource): BatchReader {
    return new BatchReader(source, this.budget, (id, field) => {
      // A dictionary may be missing while nobody refers to it.
      return this.dictionaries.values(id) ?? this.reader(EMPTY_SOURCE).plain(field, field.name);
    });
  }
}

function* buffersOf(data: Data): Generator<Uint8Array> {
  for (const buffer of [data.nullBitmap, data.valueOffsets, data.values] as (NodeJS.TypedArray | undefined)[]) {
    if (buffer !== undefined) yield new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  }
  for (const child of data.children) yield* buffersOf(child);
}

function checkVersion(message: FlatTable): void {
  const version = message.int16(MESSAGE.version, 0);
  if (!VERSIONS.includes(version)) throw corrupt(`metadata version V${version + 1} is not supported`);
}

const CONTINUATION = 0xffffffff;
const PREFIX_BYTES = 4;

/** A whole IPC stream: its columns and its batches. `reserve`: see ForeignStream. Throws IngestError, and what `reserve` throws. */
export function readForeignStream(
  bytes: Uint8Array,
  reserve?: (totalBytes: number) => void,
): { fields: readonly ForeignField[]; batches: RecordBatch[] } {
  const stream = new ForeignStream(reserve);
  const batches: RecordBatch[] = [];
  for (const { header, body } of messagesOf(bytes)) {
    const batch = stream.message(header, body);
    if (batch !== undefined) batches.push(batch);
  }
  if (stream.fields === undefined) throw corrupt('the stream has no schema');
  return { fields: stream.fields, batches };
}

/** The columns of an IPC stream, from its first message. Throws IngestError. */
export function readForeignFields(bytes: Uint8Array): readonly ForeignField[] {
  const stream = new ForeignStream();
  const [first] = messagesOf(bytes);
  if (first !== undefined) stream.message(first.header, first.body);
  if (stream.fields === undefined) throw corrupt('the stream has no schema');
  return stream.fields;
}

function* messagesOf(bytes: Uint8Array): Generator<{ header: Uint8Array; body: Uint8Array }> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const isMarked = bytes.length >= PREFIX_BYTES && view.getUint32(0, true) === CONTINUATION;
  let at = 0;
  while (at < bytes.length) {
    const start = readPrefix(view, at, isMarked);
    at = start.at + start.headerBytes;
    if (start.headerBytes === 0) break;
    const header = bytes.subarray(start.at, at);
    const bodyBytes = FlatTable.root(header).int64(MESSAGE.bodyLength);
    if (bodyBytes < 0 || at + bodyBytes > bytes.length) throw corrupt(`the body at byte ${at} does not end inside the stream`);
    yield { header, body: bytes.subarray(at, at + bodyBytes) };
    at += bodyBytes;
  }
  if (at < bytes.length) throw corrupt(`something follows the end of the stream at byte ${at}`);
}

/**
 * The length in front of a message, with or (before Arrow 0.15, in a whole stream) without the continuation marker; 0 is the end
 * of the stream.
 */
function readPrefix(view: DataView, at: number, isMarked: boolean): { at: number; headerBytes: number } {
  const word = (position: number): number => {
    if (position + PREFIX_BYTES > view.byteLength) throw corrupt(`the stream ends inside a message at byte ${position}`);
    return view.getUint32(position, true);
  };
  if (isMarked && word(at) !== CONTINUATION) throw corrupt(`no message starts at byte ${at}`);
  const lengthAt = isMarked ? at + PREFIX_BYTES : at;
  const headerBytes = word(lengthAt);
  const start = lengthAt + PREFIX_BYTES;
  if (start + headerBytes > view.byteLength) throw corrupt(`the metadata at byte ${start} does not end inside the stream`);
  if (isMarked && headerBytes % 8 !== 0) throw corrupt(`the metadata at byte ${start} is not padded`);
  return { at: start, headerBytes };
}
