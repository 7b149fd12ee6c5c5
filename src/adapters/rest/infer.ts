/**
 * Columns from rows: what a table needs to hold the members of a JSON request (DESIGN section 4, inferred tables).
 * - integers: int64 (uint64 or decimal when they need it), float64 as soon as one is not an integer or is larger; booleans; strings
 * - timestamp: when the name says so (TIME_NAMES) and a value is a time, or when every value is a full RFC 3339 date-time
 * - json: objects, arrays, and members whose values are of several kinds
 * Null says nothing.
 */
import { WideInteger } from '../../columnar/decimal';
import { Interner } from '../../columnar/interner';
import type { ColumnType, TableSchema } from '../../core/table-schema';
import { parseDecimal } from '../decimal-number';
import { isBuiltin, isTimeName } from '../friendly-names';
import { type Int64Halves, isPlainInteger, parseInt64, parseUint64 } from '../json-number';
import { JSON_BYTE, type JsonReader } from '../json-reader';
import { type InferredColumns, newColumns } from '../new-columns';
import { isRfc3339, parseEpoch, parseTimeText } from '../row-time';
import { type JsonKind, type RowVisitor, readRows } from './rows-json';

/** What was seen of a member, one bit each. */
export const SEEN = {
  int: 1,
  /** An integer above int64. */
  large: 2,
  negative: 4,
  float: 8,
  bool: 16,
  /** A string that is an RFC 3339 date-time, and one that is not. */
  timeText: 32,
  otherText: 64,
  nested: 128,
  /** Any value that can be read as a time. */
  time: 256,
  /** An integer beyond 64 bits that a decimal holds. */
  huge: 512,
} as const;

/** The columns that a JSON body needs beyond `known`. Throws IngestError `invalid_argument` when the body is not JSON. */
export function inferColumns(body: Uint8Array, kind: JsonKind, known: TableSchema | undefined): InferredColumns {
  if (known !== undefined && isBuiltin(known.table)) return { columns: [], timeColumn: known.timeColumn };
  const types = [...seenMembers(body, kind)]
    .filter(([, seen]) => seen !== 0)
    .map(([name, seen]) => [name, typeOf(name, seen)] as const);
  return newColumns(new Map(types), known);
}

/** What was seen of each member of the rows: bits of SEEN. Throws IngestError `invalid_argument` when the body is not JSON. */
export function seenMembers(body: Uint8Array, kind: JsonKind): ReadonlyMap<string, number> {
  const collector = new MemberCollector();
  readRows(body, kind, collector);
  return collector.members();
}

const NUMBERS = SEEN.int | SEEN.large | SEEN.negative | SEEN.float | SEEN.huge;

function typeOf(name: string, seen: number): ColumnType {
  const kinds = seen & ~SEEN.time;
  if (isTimeName(name) && (seen & SEEN.time) !== 0) return 'timestamp';
  if (kinds === SEEN.timeText) return 'timestamp';
  if ((kinds & ~(SEEN.timeText | SEEN.otherText)) === 0) return 'string';
  if (kinds === SEEN.bool) return 'bool';
  if ((kinds & ~NUMBERS) !== 0) return 'json';
  if ((kinds & SEEN.float) !== 0) return 'float64';
  if ((kinds & SEEN.huge) !== 0) return 'decimal';
  if ((kinds & SEEN.large) === 0) return 'int64';
  return (kinds & SEEN.negative) === 0 ? 'uint64' : 'decimal';
}

/** Collects the names of members and the kinds of their values; a broken line leaves nothing behind. */
class MemberCollector implements RowVisitor {
  private readonly names = new Interner();
  private readonly seen: number[] = [];
  /** Pairs of name and kind of the open row. */
  private readonly open: number[] = [];
  private readonly scratch: Int64Halves = { low: 0, high: 0 };
  private readonly wide = new WideInteger();

  row(reader: JsonReader, byte: number): void {
    this.open.length = 0;
    if (byte !== JSON_BYTE.openObject) {
      reader.skipValue();
      return;
    }
    reader.beginObject();
    for (let first = true; reader.nextMember(first); first = false) {
      const name = this.names.intern(reader.text, reader.textStart, reader.textEnd);
      this.open.push(name, this.valueKind(reader, reader.peek()));
    }
  }

  done(): void {
    for (let i = 0; i < this.open.length; i += 2) {
      const name = this.open[i];
      while (this.seen.length <= name) this.seen.push(0);
      this.seen[name] |= this.open[i + 1];
    }
  }

  broken(): void {
    this.open.length = 0;
  }

  members(): ReadonlyMap<string, number> {
    const members = new Map<string, number>();
    for (const [id, seen] of this.seen.entries()) {
      const name = Buffer.from(this.names.values.valueAt(id)).toString();
      members.set(name, (members.get(name) ?? 0) | seen);
    }
    return members;
  }

  /** Reads the value and tells what it is. */
  private valueKind(reader: JsonReader, byte: number): number {
    if (byte === JSON_BYTE.quote) {
      reader.string();
      const { text, textStart, textEnd } = reader;
      if (isRfc3339(text, textStart, textEnd)) return SEEN.timeText | SEEN.time;
      return SEEN.otherText | (parseTimeText(text, textStart, textEnd, this.scratch) === undefined ? SEEN.time : 0);
    }
    const start = reader.pos;
    reader.skipValue();
    switch (byte) {
      case JSON_BYTE.n:
        return 0;
      case JSON_BYTE.t:
      case JSON_BYTE.f:
        return SEEN.bool;
      case JSON_BYTE.openObject:
      case JSON_BYTE.openArray:
        return SEEN.nested;
      default:
        return this.numberKind(reader.bytes, start, reader.pos);
    }
  }

  private numberKind(bytes: Uint8Array, start: number, end: number): number {
    const time = parseEpoch(bytes, start, end, this.scratch) === undefined ? SEEN.time : 0;
    if (!isPlainInteger(bytes, start, end)) return SEEN.float | time;
    const sign = bytes[start] === JSON_BYTE.minus ? SEEN.negative : 0;
    if (parseInt64(bytes, start, end, this.scratch) === undefined) return SEEN.int | sign | time;
    if (parseUint64(bytes, start, end, this.scratch) === undefined) return SEEN.large;
    return parseDecimal(bytes, start, end, this.wide) ? SEEN.huge : SEEN.float;
  }
}
