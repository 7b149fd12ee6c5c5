/**
 * The value arrays of `Column` (ingest.proto) as Arrow data. Numbers are copied in one piece, texts byte by byte from the message;
 * no object for a value. Both packed and single elements are read (PB2).
 */
import {
  type Data,
  type DataType,
  DateDay,
  Field,
  Float32,
  Float64,
  Int32,
  Int64,
  List,
  makeData,
  TimestampNanosecond,
  Uint32,
  Uint64,
} from 'apache-arrow';
import { AttributesBuilder } from '../../columnar/attributes';
import { BoolBuilder } from '../../columnar/builders';
import { type BytesBuilder, binaryBuilder, utf8Builder } from '../../columnar/bytes-builder';
import type { ForeignField } from '../../columnar/foreign-schema';
import { dictionaryData } from '../../columnar/nested-builders';
import { malformed, type Wire } from '../wire';
import { type Span, spansOf, tagOf, WIRE } from './fields';
import * as fields from './foreign-fields';
import { writeEntries } from './value';

/** The values of a column, none of them null, and what they are. */
export interface ColumnArray {
  readonly field: ForeignField;
  readonly data: Data;
}

type Reader = (wire: Wire, name: string, spans: readonly Span[]) => ColumnArray;

/** By field number in `Column.values`. */
export const ARRAYS: ReadonlyMap<number, Reader> = new Map<number, Reader>([
  [3, readBools],
  [4, numbers(fields.INT32, 4, (bytes) => fixed(new Int32(), new Int32Array(bytes)))],
  [5, numbers(fields.INT64, 8, (bytes) => fixed(new Int64(), new BigInt64Array(bytes)))],
  [6, numbers(fields.UINT32, 4, (bytes) => fixed(new Uint32(), new Uint32Array(bytes)))],
  [7, numbers(fields.UINT64, 8, (bytes) => fixed(new Uint64(), new BigUint64Array(bytes)))],
  [8, numbers(fields.FLOAT, 4, (bytes) => fixed(new Float32(), new Float32Array(bytes)))],
  [9, numbers(fields.DOUBLE, 8, (bytes) => fixed(new Float64(), new Float64Array(bytes)))],
  [10, readStrings],
  [11, readDictionary],
  [12, readBytes],
  [13, numbers(fields.TIMESTAMP, 8, (bytes) => fixed(new TimestampNanosecond('UTC'), new BigInt64Array(bytes)))],
  [14, numbers(fields.DATE, 4, (bytes) => fixed(new DateDay(), new Int32Array(bytes)))],
  [15, readStrings],
  [16, readMaps],
  [17, readLists],
  [18, readStrings],
]);

/** The fields of `Column.values` whose texts are something else: JSON documents, decimal numbers. */
export const JSONS_FIELD = 15;
export const DECIMALS_FIELD = 18;

type FixedArray = Int32Array | Uint32Array | BigInt64Array | BigUint64Array | Float32Array | Float64Array;

const fixed = (type: DataType, data: FixedArray): Data =>
  makeData({ type: type as Float64, length: data.length, nullCount: 0, data: data as Float64Array });

function numbers(type: ForeignField['type'], width: 4 | 8, make: (bytes: ArrayBuffer) => Data): Reader {
  return (wire, name, spans) => ({ field: fields.fieldOf(name, type), data: make(fixedBytes(wire, spans, 1, width)) });
}

/** The elements of a repeated field of fixed width, end to end. */
function fixedBytes(wire: Wire, spans: readonly Span[], number: number, width: 4 | 8): ArrayBuffer {
  const pieces: Span[] = [];
  const packed = tagOf(number, WIRE.delimited);
  const single = tagOf(number, width === 4 ? WIRE.fixed32 : WIRE.fixed64);
  let total = 0;
  for (const { start, stop } of spans) {
    for (let p = start; p < stop; ) {
      p = wire.tag(p, stop);
      const tag = wire.low;
      let from = p;
      if (tag === packed) {
        from = wire.open(p, stop);
        p = wire.stop;
        if ((p - from) % width !== 0) throw malformed('a packed array does not hold whole elements', from);
      } else p = wire.skip(tag, p, stop);
      if (tag !== packed && tag !== single) continue;
      pieces.push({ start: from, stop: p });
      total += p - from;
    }
  }
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const { start, stop } of pieces) {
    bytes.set(wire.bytes.subarray(start, stop), at);
    at += stop - start;
  }
  return bytes.buffer;
}

function readBools(wire: Wire, name: string, spans: readonly Span[]): ColumnArray {
  const out = new BoolBuilder();
  const take = (p: number, end: number): number => {
    const next = wire.varint(p, end);
    out.append((wire.low | wire.high) !== 0);
    return next;
  };
  for (const { start, stop } of spans) {
    for (let p = start; p < stop; ) {
      p = wire.tag(p, stop);
      if (wire.low === tagOf(1, WIRE.varint)) p = take(p, stop);
      else if (wire.low === tagOf(1, WIRE.delimited)) {
        p = wire.open(p, stop);
        for (const end = wire.stop; p < end; ) p = take(p, end);
      } else p = wire.skip(wire.low, p, stop);
    }
  }
  return { field: fields.fieldOf(name, fields.BOOL), data: out.finish() };
}

/** Appends the values of a repeated string or bytes field. */
function appendDelimited(wire: Wire, spans: readonly Span[], number: number, out: BytesBuilder): void {
  const wanted = tagOf(number, WIRE.delimited);
  for (const { start, stop } of spans) {
    for (let p = start; p < stop; ) {
      p = wire.tag(p, stop);
      if (wire.low !== wanted) {
        p = wire.skip(wire.low, p, stop);
        continue;
      }
      p = wire.open(p, stop);
      out.append(wire.bytes, p, wire.stop);
      p = wire.stop;
    }
  }
}

function texts(wire: Wire, name: string, spans: readonly Span[]): BytesBuilder {
  const out = utf8Builder();
  appendDelimited(wire, spans, 1, out);
  if (!out.isUtf8()) throw malformed(`column ${name} holds a string that is not valid UTF-8`, spans[0]?.start ?? 0);
  return out;
}

function readStrings(wire: Wire, name: string, spans: readonly Span[]): ColumnArray {
  return { field: fields.fieldOf(name, fields.UTF8), data: texts(wire, name, spans).finish() };
}

function readBytes(wire: Wire, name: string, spans: readonly Span[]): ColumnArray {
  const out = binaryBuilder();
  appendDelimited(wire, spans, 1, out);
  return { field: fields.fieldOf(name, fields.BINARY), data: out.finish() };
}

/** Indexes may be out of range where the row is null; the caller puts them right. */
function readDictionary(wire: Wire, name: string, spans: readonly Span[]): ColumnArray {
  const values = texts(wire, name, spans);
  const indexes = new Int32Array(fixedBytes(wire, spans, 2, 4));
  if (values.length === 0) values.appendString('');
  const data = dictionaryData(fixed(new Int32(), indexes), values.finish());
  return { field: fields.indexed(fields.fieldOf(name, fields.UTF8)), data };
}

function readMaps(wire: Wire, name: string, spans: readonly Span[]): ColumnArray {
  const out = new AttributesBuilder();
  spansOf(wire, spans, (number, map) => {
    if (number !== 1) return;
    writeEntries(wire, map, out);
    out.endRow();
  });
  return { field: fields.mapField(name), data: out.finish() };
}

const LIST_ITEMS: ReadonlyMap<number, Reader> = new Map([
  [2, numbers(fields.INT64, 8, (bytes) => fixed(new Int64(), new BigInt64Array(bytes)))],
  [3, numbers(fields.UINT64, 8, (bytes) => fixed(new Uint64(), new BigUint64Array(bytes)))],
  [4, numbers(fields.DOUBLE, 8, (bytes) => fixed(new Float64(), new Float64Array(bytes)))],
  [5, readStrings],
]);

function readLists(wire: Wire, name: string, spans: readonly Span[]): ColumnArray {
  const lengths = new Uint32Array(fixedBytes(wire, spans, 1, 4));
  let kind = 2;
  let found: Span[] = [];
  spansOf(wire, spans, (number, span) => {
    if (!LIST_ITEMS.has(number)) return;
    if (number !== kind) found = [];
    kind = number;
    found.push(span);
  });
  const items = LIST_ITEMS.get(kind)!(wire, 'item', found);
  const valueOffsets = new Int32Array(lengths.length + 1);
  let total = 0;
  for (const [row, length] of lengths.entries()) {
    total += length;
    if (total > items.data.length) break;
    valueOffsets[row + 1] = total;
  }
  if (total !== items.data.length) {
    throw malformed(`the lengths of the lists of column ${name} do not add up to their items`, spans[0]?.start ?? 0);
  }
  const type = new List(new Field('item', items.data.type, true));
  const data = makeData({ type, length: lengths.length, nullCount: 0, valueOffsets, child: items.data });
  return { field: fields.listField(name, items.field.type), data };
}
