/**
 * Rows of a record batch as PostgreSQL's binary COPY format (PostgreSQL manual, COPY, "Binary Format"), from typed arrays:
 *
 *   header   "PGCOPY\n\377\r\n\0", int32 flags = 0, int32 extension length = 0
 *   row      int16 number of fields, then each field: int32 length (-1: null) and the value in its type's binary form
 *   trailer  int16 -1
 *
 * A row makes no object and no string. Columns that the batch lacks are left out of the COPY and become null by default.
 * The same batch always gives the same bytes. Nothing is checked for meaning here: PostgreSQL refuses what it cannot hold.
 */
import { type Data, DataType, type Int, type RecordBatch, type Timestamp } from 'apache-arrow';
import { arrowType } from '../../columnar/arrow-type';
import { byteSource } from '../../columnar/byte-source';
import { type ColumnView, halvesOf, positionOf, viewColumn } from '../../columnar/read';
import { columnData } from '../../columnar/record-batch';
import { UnfitBatchError } from '../../core/sink';
import type { ColumnType, TableSchema } from '../../core/table-schema';
import { attributesWriter, bytesWriter, cachedWriter, type FieldWriter, jsonWriter, textWriter } from './copy-json';
import { decimalWriter, uint64Writer } from './copy-numeric';
import { CopyOutput } from './copy-output';
import { nanosBelow, putMicros } from './copy-time';
import { nanosColumn } from './ddl';

/** A chunk is given away when it is at least this long. Larger ones spare us time, the server does not care. */
const CHUNK_BYTES = 512 * 1024;
const HEADER = byteSource(Buffer.from([...Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), 0, 0, 0, 0, 0, 0, 0, 0]));
const DAYS_1970_TO_2000 = 10_957;
/** Greatest size of a field of fixed size: the numeric of a decimal, with its length. */
const FIXED_FIELD_BYTES_MAX = 52;

interface CopyColumn {
  readonly name: string;
  readonly view: ColumnView;
  readonly write: FieldWriter;
}

export class CopyEncoder {
  private readonly out: CopyOutput;
  private readonly encoders: readonly CopyColumn[];
  private readonly rows: number;

  /** Throws UnfitBatchError when a column has not the Arrow type that the schema asks for. */
  constructor(
    schema: TableSchema,
    batch: RecordBatch,
    private readonly chunkBytes = CHUNK_BYTES,
  ) {
    this.rows = batch.numRows;
    this.out = new CopyOutput(chunkBytes, (schema.columns.length * 2 + 1) * FIXED_FIELD_BYTES_MAX + HEADER.bytes.length);
    const encoders: CopyColumn[] = [];
    const nanos: CopyColumn[] = [];
    for (const { name, type } of schema.columns) {
      const data = columnData(batch, name);
      if (data === undefined) continue;
      const view = viewColumn(data);
      checkType(name, type, view.values);
      encoders.push({ name, view, write: columnWriter(type, view, this.out) });
      if (type === 'timestamp') nanos.push({ name: nanosColumn(name), view, write: nanosWriter(view.values, this.out) });
    }
    this.encoders = [...encoders, ...nanos];
  }

  /** Names of the columns in the order of the fields. */
  get columns(): readonly string[] {
    return this.encoders.map(({ name }) => name);
  }

  /** Values changed so far because PostgreSQL cannot hold them: NUL taken out. */
  get sanitizedValues(): number {
    return this.out.sanitizedValues;
  }

  /** A whole stream of these rows (default: all), in pieces that belong to the caller. One stream at a time. */
  *chunks(rows?: Int32Array): Generator<Uint8Array> {
    const { out, encoders } = this;
    const count = rows?.length ?? this.rows;
    const fields = encoders.length;
    let at = out.putBytes(HEADER, 0, HEADER.bytes.length, 0);
    for (let i = 0; i < count; i++) {
      const row = rows === undefined ? i : rows[i];
      out.reserve(at, 0);
      out.view.setInt16(at, fields);
      at += 2;
      for (let field = 0; field < fields; field++) {
        const { view, write } = encoders[field];
        const position = positionOf(view, row);
        if (position >= 0) {
          at = write(position, at);
        } else {
          out.view.setInt32(at, -1);
          at += 4;
        }
      }
      if (at >= this.chunkBytes) {
        yield out.take(at);
        at = 0;
      }
    }
    out.view.setInt16(at, -1);
    yield out.take(at + 2);
  }
}

function columnWriter(type: ColumnType, view: ColumnView, out: CopyOutput): FieldWriter {
  const write = WRITERS[type](view.values, out);
  const isLarge = type === 'json' || type === 'attributes' || type.startsWith('list');
  return view.indexes !== undefined && isLarge ? cachedWriter(write, view.values.length, out) : write;
}

type MakeWriter = (data: Data, out: CopyOutput) => FieldWriter;

const WRITERS: Readonly<Record<ColumnType, MakeWriter>> = {
  timestamp: (data, out) => {
    const halves = halvesOf(data);
    return (position, at) => putMicros(out, halves[position * 2], halves[position * 2 + 1] | 0, at);
  },
  string: textWriter,
  json: jsonWriter,
  attributes: attributesWriter,
  binary: bytesWriter,
  bool: (data, out) => {
    const bits = data.values as Uint8Array;
    return (position, at) => {
      out.view.setInt32(at, 1);
      out.bytes[at + 4] = (bits[position >> 3] >> (position & 7)) & 1;
      return at + 5;
    };
  },
  int16: (data, out) => {
    const values = data.values as Int16Array;
    return (position, at) => out.putShort(values[position], at);
  },
  uint8: (data, out) => {
    const values = data.values as Uint8Array;
    return (position, at) => out.putShort(values[position], at);
  },
  int32: (data, out) => {
    const values = data.values as Int32Array;
    return (position, at) => out.putInt(values[position], at);
  },
  date: (data, out) => {
    const values = data.values as Int32Array;
    return (position, at) => out.putInt(values[position] - DAYS_1970_TO_2000, at);
  },
  uint32: (data, out) => {
    const values = data.values as Uint32Array;
    return (position, at) => out.putLong(0, values[position], at);
  },
  int64: longWriter,
  uint64: uint64Writer,
  decimal: decimalWriter,
  float32: (data, out) => {
    const { buffer, byteOffset, length } = data.values as Float32Array;
    const bits = new Int32Array(buffer, byteOffset, length);
    return (position, at) => out.putInt(bits[position], at);
  },
  float64: longWriter,
  'list<uint64>': (data, out) => arrayWriter(data, out, { oid: 1700, item: uint64Writer }),
  'list<int64>': (data, out) => arrayWriter(data, out, { oid: 20, item: longWriter }),
  'list<float64>': (data, out) => arrayWriter(data, out, { oid: 701, item: longWriter }),
  'list<string>': (data, out) => arrayWriter(data, out, { oid: 25, item: textWriter }),
};

/** int64 and float64: the bits as they are (NaN and -0 kept). */
function longWriter(data: Data, out: CopyOutput): FieldWriter {
  const halves = halvesOf(data);
  return (position, at) => out.putLong(halves[position * 2 + 1], halves[position * 2], at);
}

function nanosWriter(data: Data, out: CopyOutput): FieldWriter {
  const halves = halvesOf(data);
  return (position, at) => out.putShort(nanosBelow(halves[position * 2], halves[position * 2 + 1] | 0), at);
}

/**
 * One-dimensional arrays (PostgreSQL, array_recv): int32 dimensions, has-nulls flag, element type; for each dimension its length
 * and lower bound; then the elements as fields. An empty list is an array of no dimensions.
 */
function arrayWriter(data: Data, out: CopyOutput, element: { oid: number; item: MakeWriter }): FieldWriter {
  const { valueOffsets, children } = data;
  const items = viewColumn(children[0]);
  const write = element.item(items.values, out);
  return (position, at) => {
    const start = valueOffsets[position]!;
    const end = valueOffsets[position + 1]!;
    out.reserve(at, 24);
    const { view } = out;
    view.setInt32(at + 4, end > start ? 1 : 0);
    view.setInt32(at + 12, element.oid);
    view.setInt32(at + 16, end - start);
    view.setInt32(at + 20, 1);
    let to = end > start ? at + 24 : at + 16;
    let hasNulls = 0;
    for (let i = start; i < end; i++) {
      out.reserve(to, FIXED_FIELD_BYTES_MAX);
      const itemPosition = positionOf(items, i);
      if (itemPosition >= 0) {
        to = write(itemPosition, to);
      } else {
        hasNulls = 1;
        out.view.setInt32(to, -1);
        to += 4;
      }
    }
    out.view.setInt32(at, to - at - 4);
    out.view.setInt32(at + 8, hasNulls);
    return to;
  };
}

const sameKind = (a: DataType, b: DataType): boolean =>
  a.typeId === b.typeId &&
  (['bitWidth', 'isSigned', 'precision', 'scale'] as const).every(
    (key) => (a as Int)[key as 'bitWidth'] === (b as Int)[key as 'bitWidth'],
  );

const plainType = (type: DataType): DataType => (DataType.isDictionary(type) ? type.dictionary : type);

const typeName = (type: { toString(): string }): string => type.toString();

/** Bytes of another type would be written as if they were of this one: refuse instead. */
function checkType(name: string, type: ColumnType, data: Data): void {
  const expected = arrowType(type);
  let fits = sameKind(data.type, expected);
  if (DataType.isTimestamp(expected)) fits &&= (data.type as Timestamp).unit === expected.unit;
  if (DataType.isList(expected)) {
    const [item] = data.children;
    fits &&= item !== undefined && sameKind(plainType(item.type), expected.children[0]?.type as DataType);
  }
  if (!fits) {
    throw new UnfitBatchError('type_mismatch', name, `column ${name} is ${typeName(data.type)}, expected ${typeName(expected)}`);
  }
}
