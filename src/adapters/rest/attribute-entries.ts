/** JSON values as attributes: the kind is kept, nested values stay JSON text (see core/table-schema.ts, `attributes`). */
import type { AttributesBuilder } from '../../columnar/attributes';
import { ATTRIBUTE_KIND } from '../../core/table-schema';
import { type CellProblem, mismatch, outOfRange } from '../cell-problem';
import { doubleText } from '../cell-text';
import { type Int64Halves, isPlainInteger, parseDouble, parseInt64 } from '../json-number';
import { JSON_BYTE, type JsonReader } from '../json-reader';

/** Adds the members of the object at the reader (`{` was peeked) to the open row. All of it is consumed, also after a problem. */
export function readEntries(reader: JsonReader, out: AttributesBuilder): CellProblem | undefined {
  let problem: CellProblem | undefined;
  reader.beginObject();
  for (let first = true; reader.nextMember(first); first = false) {
    const key = out.keys.intern(reader.text, reader.textStart, reader.textEnd);
    problem = readEntry(reader, reader.peek(), key, out) ?? problem;
  }
  return problem;
}

/** Adds one entry with an interned key and the value at the reader, whose first byte is `byte`. */
export function readEntry(reader: JsonReader, byte: number, key: number, out: AttributesBuilder): CellProblem | undefined {
  const start = reader.pos;
  out.key(key);
  switch (byte) {
    case JSON_BYTE.quote:
      reader.string();
      out.text.write(reader.text, reader.textStart, reader.textEnd);
      out.endEntry(ATTRIBUTE_KIND.string);
      return undefined;
    case JSON_BYTE.n:
      reader.word();
      out.endEntry(ATTRIBUTE_KIND.empty);
      return undefined;
    case JSON_BYTE.t:
    case JSON_BYTE.f:
      reader.word();
      return raw(reader, start, ATTRIBUTE_KIND.bool, out);
    case JSON_BYTE.openArray:
      reader.skipValue();
      return raw(reader, start, ATTRIBUTE_KIND.array, out);
    case JSON_BYTE.openObject:
      reader.skipValue();
      return raw(reader, start, ATTRIBUTE_KIND.kvlist, out);
    default:
      if (!isNumberStart(byte)) reader.unexpected('a value');
      reader.number();
      return numberEntry(reader, out);
  }
}

export const isNumberStart = (byte: number): boolean => byte === JSON_BYTE.minus || (byte >= 0x30 && byte <= 0x39);

function raw(reader: JsonReader, start: number, kind: number, out: AttributesBuilder): undefined {
  out.text.write(reader.bytes, start, reader.pos);
  out.endEntry(kind);
  return undefined;
}

const INT: Int64Halves = { low: 0, high: 0 };

const ASCII = { point: 0x2e, zero: 0x30, nine: 0x39 } as const;

/** A decimal of at most 15 digits with a fraction that does not end in a needless zero: already the shortest text of its double. */
function isShortDecimal(text: Uint8Array, start: number, end: number): boolean {
  if (end - start > 16) return false;
  let point = -1;
  for (let at = text[start] === JSON_BYTE.minus ? start + 1 : start; at < end; at++) {
    if (text[at] === ASCII.point) point = at;
    else if (text[at] < ASCII.zero || text[at] > ASCII.nine) return false;
  }
  return point >= 0 && (text[end - 1] !== ASCII.zero || point === end - 2);
}

/** Integers that int64 holds are exact; everything else is a double. */
function numberEntry(reader: JsonReader, out: AttributesBuilder): CellProblem | undefined {
  const { text, textStart, textEnd } = reader;
  if (isPlainInteger(text, textStart, textEnd) && parseInt64(text, textStart, textEnd, INT) === undefined) {
    out.text.write(text, textStart, textEnd);
    out.endEntry(ATTRIBUTE_KIND.int);
    return undefined;
  }
  const value = parseDouble(text, textStart, textEnd);
  if (isShortDecimal(text, textStart, textEnd)) out.text.write(text, textStart, textEnd);
  else if (Number.isFinite(value)) out.text.writeString(doubleText(value));
  out.endEntry(ATTRIBUTE_KIND.double);
  return Number.isFinite(value) ? undefined : outOfRange('a double');
}

export const NOT_AN_OBJECT = mismatch('an object');
