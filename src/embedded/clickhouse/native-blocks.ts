/**
 * Native blocks for clients that send `client_protocol_version` (clickhouse-go, and Grafana through it). The engine writes files
 * in the form of revision 0; a server adds for the client's revision:
 *
 *   block    [revision > 0]      block info: 1, is_overflows u8, 2, bucket_num i32, 0
 *            varint columns, varint rows
 *   column   string name, string type
 *            [revision >= 54454] u8 has_custom_serialization = 0
 *            data, when rows > 0
 *
 * To find where a column ends its type must be walked. Types whose layout depends on their values in other ways (Variant,
 * Dynamic, JSON, AggregateFunction) are refused by name.
 */
import { open, readFile, stat } from 'node:fs/promises';
import { refuse } from './exception';

const CUSTOM_SERIALIZATION_REVISION = 54_454;
const BLOCK_INFO = Buffer.from([1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0]);
const NO_CUSTOM_SERIALIZATION = Buffer.from([0]);
/** The blocks are walked in memory. */
const NATIVE_BYTES_MAX = 512 * 1024 * 1024;

/** Rewrites the blocks of `file` into `target` for a client of that revision. Answers the bytes written. */
export async function nativeWithRevision(file: string, target: string, revision: number): Promise<number> {
  if ((await stat(file)).size > NATIVE_BYTES_MAX) {
    throw refuse('NOT_IMPLEMENTED', 'A Native result above 512 MiB is not supported together with client_protocol_version');
  }
  const parts = addRevision(await readFile(file), revision);
  const out = await open(target, 'wx');
  try {
    let sizeBytes = 0;
    for (const part of parts) {
      await out.writeFile(part);
      sizeBytes += part.length;
    }
    return sizeBytes;
  } finally {
    await out.close();
  }
}

/** The pieces of the result, in order. */
export function addRevision(blocks: Buffer, revision: number): Buffer[] {
  const parts: Buffer[] = [];
  const walk = new Walk(blocks);
  while (walk.at < blocks.length) {
    parts.push(BLOCK_INFO);
    let start = walk.at;
    const columns = walk.varint();
    const rows = walk.varint();
    for (let column = 0; column < columns; column++) {
      walk.text();
      const type = parseType(walk.text());
      if (revision >= CUSTOM_SERIALIZATION_REVISION) {
        parts.push(blocks.subarray(start, walk.at), NO_CUSTOM_SERIALIZATION);
        start = walk.at;
      }
      if (rows > 0) {
        skipPrefix(walk, type);
        skipValues(walk, type, rows);
      }
    }
    parts.push(blocks.subarray(start, walk.at));
  }
  return parts;
}

class Walk {
  at = 0;
  private readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  skip(count: number): void {
    this.at += count;
    if (this.at > this.bytes.length) throw refuse('STD_EXCEPTION', 'Native result ends inside a block');
  }

  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.bytes[this.at] ?? 0;
      this.skip(1);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }

  text(): string {
    const length = this.varint();
    const start = this.at;
    this.skip(length);
    return this.bytes.toString('utf8', start, this.at);
  }

  uint64(): number {
    const value = this.bytes.readBigUInt64LE(this.at);
    this.skip(8);
    return Number(value);
  }
}

interface ColumnType {
  readonly name: string;
  readonly arguments: readonly string[];
}

const FIXED_BYTES: Readonly<Record<string, number>> = {
  UInt8: 1,
  Int8: 1,
  Bool: 1,
  Enum8: 1,
  Nothing: 1,
  UInt16: 2,
  Int16: 2,
  Date: 2,
  Enum16: 2,
  BFloat16: 2,
  UInt32: 4,
  Int32: 4,
  Float32: 4,
  Date32: 4,
  DateTime: 4,
  Time: 4,
  IPv4: 4,
  UInt64: 8,
  Int64: 8,
  Float64: 8,
  DateTime64: 8,
  Time64: 8,
  UInt128: 16,
  Int128: 16,
  UUID: 16,
  IPv6: 16,
  UInt256: 32,
  Int256: 32,
};

/** `Name(a, b)` with arguments as text. */
function parseType(text: string): ColumnType {
  const bracket = text.indexOf('(');
  if (bracket < 0) return { name: text, arguments: [] };
  return { name: text.slice(0, bracket), arguments: splitArguments(text.slice(bracket + 1, -1)) };
}

function splitArguments(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  let quote = '';
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '\\') at++;
    else if (quote !== '') quote = char === quote ? '' : quote;
    else if (char === "'" || char === '`') quote = char;
    else if (char === '(') depth++;
    else if (char === ')') depth--;
    else if (char === ',' && depth === 0) {
      parts.push(text.slice(start, at).trim());
      start = at + 1;
    }
  }
  parts.push(text.slice(start).trim());
  return parts;
}

/** Element types of a Tuple or Nested, whose elements may be named: `a String`, `` `b c` UInt8 ``. */
function elementType(text: string): ColumnType {
  const named = /^(?:`(?:[^`\\]|\\.)*`|[A-Za-z_][A-Za-z0-9_]*) (.+)$/s.exec(text);
  return parseType(named?.[1] ?? text);
}

function children(type: ColumnType): ColumnType[] {
  switch (type.name) {
    case 'Nullable':
    case 'Array':
      return [parseType(type.arguments[0])];
    case 'Map':
    case 'Tuple':
      return type.arguments.map((text) => elementType(text));
    case 'SimpleAggregateFunction':
      return [parseType(type.arguments[1])];
    default:
      return GEO[type.name] === undefined ? [] : [parseType(GEO[type.name])];
  }
}

const GEO: Readonly<Record<string, string>> = {
  Point: 'Tuple(Float64, Float64)',
  Ring: 'Array(Point)',
  LineString: 'Array(Point)',
  Polygon: 'Array(Ring)',
  MultiLineString: 'Array(LineString)',
  MultiPolygon: 'Array(Polygon)',
};

/** State before the values: only LowCardinality has one, its version. */
function skipPrefix(walk: Walk, type: ColumnType): void {
  if (type.name === 'LowCardinality') walk.skip(8);
  else for (const child of children(type)) skipPrefix(walk, child);
}

function skipValues(walk: Walk, type: ColumnType, rows: number): void {
  const fixed = fixedBytes(type);
  if (fixed !== undefined) {
    walk.skip(fixed * rows);
    return;
  }
  switch (type.name) {
    case 'String':
      for (let row = 0; row < rows; row++) walk.skip(walk.varint());
      return;
    case 'Nullable':
      walk.skip(rows);
      skipValues(walk, children(type)[0], rows);
      return;
    case 'Array':
    case 'Map':
      skipOffsets(walk, type, rows);
      return;
    case 'Tuple':
      // An empty tuple has one byte for each row.
      if (type.arguments.length === 1 && type.arguments[0] === '') walk.skip(rows);
      else for (const child of children(type)) skipValues(walk, child, rows);
      return;
    case 'LowCardinality':
      skipDictionary(walk, type, rows);
      return;
    default:
      if (children(type).length === 1) skipValues(walk, children(type)[0], rows);
      else throw refuse('NOT_IMPLEMENTED', `Type ${type.name} is not supported in Native with client_protocol_version`);
  }
}

function fixedBytes(type: ColumnType): number | undefined {
  if (type.name === 'FixedString') return Number(type.arguments[0]);
  if (type.name.startsWith('Interval')) return 8;
  if (type.name === 'Decimal') {
    const precision = Number(type.arguments[0]);
    return precision <= 9 ? 4 : precision <= 18 ? 8 : precision <= 38 ? 16 : 32;
  }
  return FIXED_BYTES[type.name];
}

/** End offsets, then the elements of all rows; a Map is an array of pairs, stored as its keys and its values. */
function skipOffsets(walk: Walk, type: ColumnType, rows: number): void {
  walk.skip((rows - 1) * 8);
  const elements = walk.uint64();
  if (elements > 0) for (const child of children(type)) skipValues(walk, child, elements);
}

/** Flags (index width in the low byte), dictionary, indexes. A nullable dictionary holds its null as the first value. */
function skipDictionary(walk: Walk, type: ColumnType, rows: number): void {
  const inner = parseType(type.arguments[0]);
  const values = inner.name === 'Nullable' ? children(inner)[0] : inner;
  const indexBytes = 1 << (walk.uint64() & 0xff);
  const keys = walk.uint64();
  if (keys > 0) skipValues(walk, values, keys);
  const indexes = walk.uint64();
  if (indexes !== rows) throw refuse('STD_EXCEPTION', 'Native result has a dictionary column in several parts');
  walk.skip(indexes * indexBytes);
}
