/**
 * jsonb and text fields. Binary jsonb is a version byte, 1, and the JSON text (PostgreSQL, jsonb_recv). What PostgreSQL cannot
 * hold is taken out and counted: U+0000 in text and jsonb (22021, 22P05), half of a surrogate pair in jsonb (22P02).
 */
import type { Data } from 'apache-arrow';
import { type ByteSource, byteSource } from '../../columnar/byte-source';
import { positionOf, viewColumn } from '../../columnar/read';
import { ATTRIBUTE_KIND } from '../../core/table-schema';
import type { CopyOutput } from './copy-output';

/** Writes the value at `position` of a column, length first, and gives the position after it. */
export type FieldWriter = (position: number, at: number) => number;

const ASCII = { quote: 0x22, comma: 0x2c, colon: 0x3a, backslash: 0x5c, open: 0x7b, close: 0x7d, u: 0x75 } as const;
const JSON_VERSION = 1;

/** What to do with a byte inside a JSON string: 0 as it is, DROP, UNICODE (`\u00XX`), or the letter after a backslash. */
const DROP = 1;
const UNICODE = 2;
const ESCAPES = new Uint8Array(256).fill(UNICODE, 0, 0x20);
ESCAPES[0] = DROP;
for (const [byte, letter] of Object.entries({ 8: 'b', 9: 't', 10: 'n', 12: 'f', 13: 'r', 34: '"', 92: '\\' })) {
  ESCAPES[Number(byte)] = letter.charCodeAt(0);
}
const HEX = Buffer.from('0123456789abcdef');
/** Longest value for which the greatest escaped size (6 bytes a byte) is simply reserved. */
const GUESS_BYTES_MAX = 16 * 1024;

interface Texts {
  readonly source: ByteSource;
  readonly offsets: Int32Array;
}

const textsOf = (data: Data): Texts => ({ source: byteSource(data.values as Uint8Array), offsets: data.valueOffsets });

/** Is `needle` anywhere in the column's values? One pass of native code, which spares a check of every value. */
function holds(data: Data, needle: string | number): boolean {
  if (data.length === 0) return false;
  const { valueOffsets: offsets } = data;
  const bytes = data.values as Uint8Array;
  const start = offsets[0]!;
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, offsets[data.length]! - start).includes(needle);
}

/** bytea, and text without NUL, is the bytes as they are. */
export function bytesWriter(data: Data, out: CopyOutput): FieldWriter {
  const { source, offsets } = textsOf(data);
  return (position, at) => {
    const start = offsets[position];
    const end = offsets[position + 1];
    out.reserve(at, end - start + 4);
    out.view.setInt32(at, end - start);
    return out.putBytes(source, start, end, at + 4);
  };
}

export function textWriter(data: Data, out: CopyOutput): FieldWriter {
  if (!holds(data, 0)) return bytesWriter(data, out);
  const { source, offsets } = textsOf(data);
  return (position, at) => {
    const value = source.bytes.subarray(offsets[position], offsets[position + 1]);
    const clean = value.includes(0) ? value.filter((byte) => byte !== 0) : value;
    if (clean !== value) out.sanitizedValues++;
    out.reserve(at, clean.length + 4);
    out.view.setInt32(at, clean.length);
    return out.putBytes(byteSource(clean), 0, clean.length, at + 4);
  };
}

/** JSON text into the output, without length or version. */
type JsonWriter = (source: ByteSource, start: number, end: number, at: number) => number;

/** JSON text as it is, repaired only in a column where something may need it. */
function rawJson(data: Data, out: CopyOutput): JsonWriter {
  if (!holds(data, '\\u') && !holds(data, 0)) {
    return (source, start, end, at) => {
      out.reserve(at, end - start);
      return out.putBytes(source, start, end, at);
    };
  }
  return (source, start, end, at) => {
    const clean = storableJson(source.bytes.subarray(start, end));
    if (clean.changed) out.sanitizedValues++;
    out.reserve(at, clean.text.length);
    return out.putBytes(byteSource(clean.text), 0, clean.text.length, at);
  };
}

/**
 * The JSON text without `\u0000` and NUL bytes, halves of surrogate pairs as U+FFFD. A backslash escape is two bytes or six:
 * walking by escapes keeps `\\u0000` (a backslash and five characters) as it is.
 */
export function storableJson(text: Uint8Array): { text: Uint8Array; changed: boolean } {
  const clean = new Uint8Array(text.length);
  let to = 0;
  let changed = false;
  for (let from = 0; from < text.length; ) {
    const byte = text[from];
    if (byte !== ASCII.backslash) {
      if (byte === 0) changed = true;
      else clean[to++] = byte;
      from++;
      continue;
    }
    const { size, keep } = escapeAt(text, from);
    if (keep === 'replace') for (const letter of REPLACEMENT) clean[to++] = letter;
    if (keep === 'as it is') for (let i = from; i < from + size && i < text.length; i++) clean[to++] = text[i]!;
    else changed = true;
    from += size;
  }
  return { text: clean.subarray(0, to), changed };
}

const REPLACEMENT = Buffer.from('\\ufffd');

/** The escape that starts with the backslash at `at`: how many bytes it has, and what becomes of it. */
function escapeAt(text: Uint8Array, at: number): { size: number; keep: 'as it is' | 'replace' | 'drop' } {
  if (text[at + 1] !== ASCII.u) return { size: 2, keep: 'as it is' };
  const unit = hexUnit(text, at + 2);
  if (unit === 0) return { size: 6, keep: 'drop' };
  if (unit >= 0xdc00 && unit <= 0xdfff) return { size: 6, keep: 'replace' };
  if (unit < 0xd800 || unit > 0xdbff) return { size: 6, keep: 'as it is' };
  const next = text[at + 6] === ASCII.backslash && text[at + 7] === ASCII.u ? hexUnit(text, at + 8) : 0;
  return next >= 0xdc00 && next <= 0xdfff ? { size: 12, keep: 'as it is' } : { size: 6, keep: 'replace' };
}

/** Four hexadecimal digits; 0xffff when they are none, which leaves the judgement to PostgreSQL. */
function hexUnit(text: Uint8Array, at: number): number {
  let unit = 0;
  for (let i = at; i < at + 4; i++) {
    const digit = HEX.indexOf((text[i] ?? 0) | 0x20);
    if (digit < 0) return 0xffff;
    unit = unit * 16 + digit;
  }
  return unit;
}

export function jsonWriter(data: Data, out: CopyOutput): FieldWriter {
  const { source, offsets } = textsOf(data);
  const put = rawJson(data, out);
  return (position, at) => {
    out.reserve(at, 5);
    out.bytes[at + 4] = JSON_VERSION;
    const end = put(source, offsets[position], offsets[position + 1], at + 5);
    out.view.setInt32(at, end - at - 4);
    return end;
  };
}

/** A JSON string with its quotes. */
function putJsonString(out: CopyOutput, source: ByteSource, start: number, end: number, at: number): number {
  const length = end - start;
  out.reserve(at, length <= GUESS_BYTES_MAX ? length * 6 + 2 : escapedLength(source.bytes, start, end) + 2);
  const { bytes, view, droppedBytes: dropped } = out;
  bytes[at] = ASCII.quote;
  let to = at + 1;
  let i = start;
  while (i < end) {
    if (i + 4 <= end) {
      const word = source.view.getInt32(i, true);
      if (isPlain(word)) {
        view.setInt32(to, word, true);
        to += 4;
        i += 4;
        continue;
      }
    }
    for (const stop = Math.min(i + 4, end); i < stop; i++) to = putEscaped(out, source.bytes[i], to);
  }
  bytes[to] = ASCII.quote;
  if (out.droppedBytes > dropped) out.sanitizedValues++;
  return to + 1;
}

/** None of the four bytes is below 0x20, a quote or a backslash. May say no to a word that is plain, never yes to another. */
function isPlain(word: number): boolean {
  const quote = word ^ 0x22222222;
  const backslash = word ^ 0x5c5c5c5c;
  const low = (word - 0x20202020) & ~word;
  return ((low | ((quote - 0x01010101) & ~quote) | ((backslash - 0x01010101) & ~backslash)) & 0x80808080) === 0;
}

/** One byte inside a JSON string; there must be room for six. */
function putEscaped(out: CopyOutput, byte: number, at: number): number {
  const { bytes } = out;
  const escape = ESCAPES[byte];
  if (escape === DROP) {
    out.droppedBytes++;
    return at;
  }
  if (escape === 0) {
    bytes[at] = byte;
    return at + 1;
  }
  bytes[at] = ASCII.backslash;
  if (escape !== UNICODE) {
    bytes[at + 1] = escape;
    return at + 2;
  }
  out.putBytes(UNICODE_PREFIX, 0, 3, at + 1);
  bytes[at + 4] = HEX[byte >> 4]!;
  bytes[at + 5] = HEX[byte & 15]!;
  return at + 6;
}

const UNICODE_PREFIX = byteSource(Buffer.from('u00'));

function escapedLength(source: Uint8Array, start: number, end: number): number {
  let length = 0;
  for (let i = start; i < end; i++) {
    const escape = ESCAPES[source[i]];
    length += escape === UNICODE ? 6 : escape > UNICODE ? 2 : 1;
  }
  return length;
}

/** Attributes as a JSON object that keeps the types: strings and base64 as strings, everything else by its JSON text. */
export function attributesWriter(data: Data, out: CopyOutput): FieldWriter {
  const entries = data.children[0];
  const [key, value] = entries?.children ?? [];
  const [kind, text] = value?.children ?? [];
  if (key === undefined || value === undefined || kind === undefined || text === undefined) {
    throw new RangeError('attributes must be Map<Utf8, Struct<kind, text>>');
  }
  const { valueOffsets } = data;
  const putKey = keyWriter(key, out);
  const putValue = attributeValueWriter(value, kind, text, out);
  return (position, at) => {
    const end = valueOffsets[position + 1]!;
    out.reserve(at, 7);
    out.bytes[at + 4] = JSON_VERSION;
    out.bytes[at + 5] = ASCII.open;
    let to = at + 6;
    for (let entry = valueOffsets[position]!, first = entry; entry < end; entry++) {
      out.reserve(to, 2);
      if (entry > first) out.bytes[to++] = ASCII.comma;
      to = putValue(entry, putKey(entry, to));
    }
    out.reserve(to, 1);
    out.bytes[to++] = ASCII.close;
    out.view.setInt32(at, to - at - 4);
    return to;
  };
}

/** `"key":`, escaped once for each distinct key when they are dictionary-encoded. */
function keyWriter(data: Data, out: CopyOutput): FieldWriter {
  const view = viewColumn(data);
  const { source, offsets } = textsOf(view.values);
  const put: FieldWriter = (position, at) => {
    const end = putJsonString(out, source, offsets[position], offsets[position + 1], at);
    out.reserve(end, 1);
    out.bytes[end] = ASCII.colon;
    return end + 1;
  };
  const writer = view.indexes === undefined ? put : cachedWriter(put, view.values.length, out);
  return (entry, at) => {
    const position = positionOf(view, entry);
    if (position < 0) throw new RangeError('an attribute has no key');
    return writer(position, at);
  };
}

const NULL = byteSource(Buffer.from('null'));
const QUOTED = Buffer.from('NI');

function attributeValueWriter(value: Data, kind: Data, text: Data, out: CopyOutput): FieldWriter {
  const valueView = viewColumn(value);
  const textView = viewColumn(text);
  const { source, offsets } = textsOf(textView.values);
  const kinds = kind.values as Uint8Array;
  const putRaw = rawJson(textView.values, out);
  return (entry, at) => {
    const position = positionOf(valueView, entry) < 0 ? -1 : positionOf(textView, entry);
    const valueKind = kinds[entry];
    if (position < 0 || valueKind === ATTRIBUTE_KIND.empty) {
      out.reserve(at, 4);
      return out.putBytes(NULL, 0, 4, at);
    }
    const start = offsets[position];
    const end = offsets[position + 1];
    if (isRaw(valueKind, source.bytes, start)) return putRaw(source, start, end, at);
    return putJsonString(out, source, start, end, at);
  };
}

/** Is the text JSON already? NaN, Infinity and -Infinity have no JSON form and are kept as strings. */
function isRaw(kind: number, bytes: Uint8Array, start: number): boolean {
  if (kind === ATTRIBUTE_KIND.double) {
    const first = bytes[start];
    return first !== QUOTED[0] && first !== QUOTED[1] && !(first === 0x2d && bytes[start + 1] === QUOTED[1]);
  }
  return (
    kind === ATTRIBUTE_KIND.bool || kind === ATTRIBUTE_KIND.int || kind === ATTRIBUTE_KIND.array || kind === ATTRIBUTE_KIND.kvlist
  );
}

/** Encodes a value once, the first time it comes, and copies its bytes after that. For dictionary-encoded columns. */
export function cachedWriter(write: FieldWriter, distinct: number, out: CopyOutput): FieldWriter {
  const starts = new Int32Array(distinct).fill(-1);
  const ends = new Int32Array(distinct);
  let cache = byteSource(new Uint8Array(1024));
  let used = 0;
  return (position, at) => {
    const start = starts[position];
    if (start >= 0) {
      const end = ends[position];
      out.reserve(at, end - start);
      return out.putBytes(cache, start, end, at);
    }
    const end = write(position, at);
    const size = end - at;
    if (used + size > cache.bytes.length) {
      const grown = new Uint8Array(Math.max(cache.bytes.length * 2, used + size));
      grown.set(cache.bytes.subarray(0, used));
      cache = byteSource(grown);
    }
    cache.bytes.set(out.bytes.subarray(at, end), used);
    starts[position] = used;
    used += size;
    ends[position] = used;
    return end;
  };
}
