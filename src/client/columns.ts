/** Columns of JavaScript values as an Arrow table. Typed arrays are taken as they are, without a copy. */
import {
  Binary,
  Bool,
  type Data,
  type DataType,
  Float64,
  Int64,
  makeData,
  makeVector,
  Table,
  TimestampNanosecond,
  Utf8,
  type Vector,
  vectorFromArray,
} from 'apache-arrow';
import { Timestamp } from './encode-value';

type NumberArray =
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
  | Float32Array
  | Float64Array;

type Scalar = boolean | number | bigint | string | Date | Timestamp | Uint8Array;

/** The values of one column: a typed array, or an array of values of one kind; null and undefined are no value. */
export type ColumnValues = NumberArray | readonly (Scalar | null | undefined)[];

/** Columns of equal length, by name. */
export type Columns = Readonly<Record<string, ColumnValues>>;

const MS_TO_NS = 1_000_000n;

/** Throws TypeError for values that are not of one kind, RangeError for columns that are not of equal length. */
export function tableOfColumns(columns: Columns): Table {
  const entries = Object.entries(columns);
  const [first] = entries;
  const other = entries.find(([, values]) => values.length !== first[1].length);
  if (other !== undefined) {
    throw new RangeError(`column ${other[0]} has ${other[1].length} values, column ${first[0]} has ${first[1].length}`);
  }
  // A column without a value says nothing.
  const vectors = entries.flatMap(([name, values]): [string, Vector][] => {
    const vector = vectorOf(name, values);
    return vector === undefined ? [] : [[name, vector]];
  });
  if (vectors.length === 0 && (first?.[1].length ?? 0) > 0) throw new TypeError('no column has a value');
  return new Table(Object.fromEntries(vectors));
}

function vectorOf(name: string, values: ColumnValues): Vector | undefined {
  if (!Array.isArray(values)) return makeVector(values as Float64Array);
  const list = values as readonly (Scalar | null | undefined)[];
  const kind = list.map(kindOf).find((found) => found !== undefined);
  if (kind === undefined) return undefined;
  const odd = list.findIndex((value) => ![undefined, kind].includes(kindOf(value)));
  if (odd >= 0) throw new TypeError(`column ${name} holds ${kind} values, and another kind at position ${odd}`);
  if (kind === 'time') return timeVector(list as readonly (Date | Timestamp | null | undefined)[]);
  return vectorFromArray(list.map((value) => value ?? null) as never, TYPES[kind]() as never);
}

type Kind = 'bool' | 'number' | 'integer' | 'text' | 'time' | 'bytes';

const TYPES: Readonly<Record<Exclude<Kind, 'time'>, () => DataType>> = {
  bool: () => new Bool(),
  number: () => new Float64(),
  integer: () => new Int64(),
  text: () => new Utf8(),
  bytes: () => new Binary(),
};

const KINDS: Readonly<Record<string, Kind>> = { boolean: 'bool', number: 'number', bigint: 'integer', string: 'text' };

function kindOf(value: Scalar | null | undefined): Kind | undefined {
  if (value === null || value === undefined) return undefined;
  if (typeof value === 'bigint' && BigInt.asIntN(64, value) !== value) {
    throw new RangeError('an integer of a column has at most 64 bits with its sign; larger ones go in a BigUint64Array');
  }
  if (value instanceof Date || value instanceof Timestamp) return 'time';
  if (value instanceof Uint8Array) return 'bytes';
  const kind = KINDS[typeof value];
  if (kind === undefined) throw new TypeError(`a column cannot hold a ${typeof value}`);
  return kind;
}

function timeVector(values: readonly (Date | Timestamp | null | undefined)[]): Vector {
  const data = new BigInt64Array(values.length);
  const nullBitmap = new Uint8Array((values.length + 7) >> 3);
  let nullCount = 0;
  for (const [i, value] of values.entries()) {
    if (value === null || value === undefined) {
      nullCount++;
      continue;
    }
    // BigInt throws RangeError for an invalid date.
    const ns = value instanceof Timestamp ? value.unixNanos : BigInt(value.getTime()) * MS_TO_NS;
    if (BigInt.asIntN(64, ns) !== ns) throw new RangeError('a time is out of range');
    data[i] = ns;
    nullBitmap[i >> 3] |= 1 << (i & 7);
  }
  const type = new TimestampNanosecond('UTC');
  const made: Data<TimestampNanosecond> = makeData({ type, length: values.length, nullCount, nullBitmap, data });
  return makeVector(made);
}
