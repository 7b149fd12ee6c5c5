import type { ColumnSchema, ColumnType } from './table-schema';

/**
 * Column types by what they can hold. Each type is below those that hold all of its values without loss, so any two types have
 * one least type that holds both: merging is commutative, associative and idempotent, and servers that meet the same types in
 * another order end with the same one.
 *
 * ```
 *   uint8 -> int16 -> int32 -> int64 -> float64 (the integers are kept exactly in a column of their own, ColumnSchema.exactOf)
 *   uint8 -> uint32 -> int64, uint64             float32 -> float64
 *   int64, uint64 -> decimal -> string           (not float64: that would lose digits)
 *   every scalar, json -> string                 lists, attributes -> json
 * ```
 */
const ABOVE: Readonly<Record<ColumnType, readonly ColumnType[]>> = {
  uint8: ['int16', 'uint32'],
  int16: ['int32'],
  int32: ['int64'],
  uint32: ['int64', 'uint64'],
  int64: ['float64', 'decimal'],
  float32: ['float64'],
  float64: ['string'],
  uint64: ['decimal'],
  decimal: ['string'],
  timestamp: ['string'],
  bool: ['string'],
  binary: ['string'],
  date: ['string'],
  string: [],
  attributes: ['json'],
  'list<uint64>': ['json'],
  'list<int64>': ['json'],
  'list<float64>': ['json'],
  'list<string>': ['json'],
  json: ['string'],
};

const UPPER = new Map<ColumnType, ReadonlySet<ColumnType>>(
  (Object.keys(ABOVE) as ColumnType[]).map((type) => [type, new Set(upwards(type))]),
);

function upwards(type: ColumnType): ColumnType[] {
  return [type, ...ABOVE[type].flatMap(upwards)];
}

/** Does `to` hold every value of `from`? */
export const holds = (to: ColumnType, from: ColumnType): boolean => UPPER.get(from)!.has(to);

/** The least type that holds the values of both. */
export function joinTypes(a: ColumnType, b: ColumnType): ColumnType {
  const common = [...UPPER.get(a)!].filter((type) => holds(type, b));
  const least = common.find((type) => common.every((other) => holds(other, type)));
  if (least === undefined) throw new Error(`${a} and ${b} have no common type`);
  return least;
}

const NUMERIC: ReadonlySet<ColumnType> = new Set<ColumnType>([
  'uint8',
  'int16',
  'int32',
  'int64',
  'uint32',
  'uint64',
  'decimal',
  'float32',
  'float64',
]);

export const isNumeric = (type: ColumnType): boolean => NUMERIC.has(type);

/** Integers that a float64 column cannot keep need a column of their own. */
export const needsExact = (from: ColumnType, to: ColumnType): boolean =>
  to === 'float64' && (from === 'int64' || from === 'uint32' || from === 'int32' || from === 'int16' || from === 'uint8');

/** The type that a column gets for values of type `asked` by its conflict policy; undefined when it keeps its own. */
export function widerType(column: ColumnSchema, asked: ColumnType): ColumnType | undefined {
  const { conflict = 'widen', type } = column;
  if (holds(type, asked) || column.exactOf !== undefined) return undefined;
  const wider = joinTypes(type, asked);
  if (conflict === 'coerce') return wider;
  return conflict === 'widen' && isNumeric(wider) ? wider : undefined;
}

/**
 * The same for a column that other values of the request make `before` already. Doubles and decimals have no number that holds
 * both: under `widen` the first of them stands.
 */
export function widestType(column: ColumnSchema, before: ColumnType | undefined, asked: ColumnType): ColumnType | undefined {
  return widerType(before === undefined ? column : { ...column, type: before }, asked) ?? before;
}
