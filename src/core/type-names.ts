import type { ColumnType } from './table-schema';

/**
 * Names of column types that a registration may use: the logical ones of table-schema.ts and the usual names of SQL
 * (PostgreSQL, ClickHouse) and Arrow. Where two worlds mean different widths by one name (int8, float), it is the wider one. A name of a
 * type that no column type holds exactly (interval, time of day) is not here.
 */
const NAMES: Readonly<Record<ColumnType, readonly string[]>> = {
  timestamp: ['timestamptz', 'timestamp with time zone', 'timestamp without time zone', 'datetime', 'datetime64', 'timestamp_ns'],
  string: ['text', 'varchar', 'character varying', 'char', 'character', 'bpchar', 'utf8', 'large_string', 'large_utf8', 'uuid'],
  json: ['jsonb', 'object', 'struct'],
  attributes: ['map', 'map<string,string>'],
  bool: ['boolean'],
  int16: ['smallint', 'int2', 'tinyint'],
  int32: ['int', 'integer', 'int4', 'uint16'],
  int64: ['bigint', 'long', 'int8'],
  uint8: ['utinyint'],
  uint32: ['uint', 'uinteger'],
  uint64: ['ubigint', 'ulong'],
  decimal: ['numeric', 'dec', 'number', 'decimal32', 'decimal64', 'decimal128', 'decimal256'],
  float32: ['real', 'float4', 'single'],
  float64: ['double', 'double precision', 'float', 'float8'],
  binary: ['bytea', 'bytes', 'blob', 'varbinary', 'large_binary'],
  date: ['date32', 'date32[day]'],
  'list<uint64>': [],
  'list<int64>': [],
  'list<float64>': [],
  'list<string>': [],
};

const TYPES: ReadonlyMap<string, ColumnType> = new Map(
  (Object.entries(NAMES) as [ColumnType, readonly string[]][]).flatMap(([type, names]) =>
    [type, ...names].map((name): [string, ColumnType] => [name, type]),
  ),
);

/** Length, precision or time zone in parentheses or brackets, which the column types do not have: varchar(20), datetime64(9, 'UTC'). */
const PARAMETERS = /^(varchar|character varying|char|character|bpchar|datetime64|timestamptz|timestamp)\s*(\(.*\)|\[.*\])$/;

/** numeric(10, 2), Decimal64(4), where one parameter is the scale, decimal128(18, 4). */
const DECIMAL = /^(numeric|decimal|dec|number)(\d*)\s*\((\d+)(?:,(-?\d+))?\)$/;
/** Digits of a decimal column on either side of the point. */
const DECIMAL_DIGITS = 38;

/** The types of a struct; Arrow writes fields in angle brackets, ClickHouse a tuple in parentheses. */
const STRUCT = /^(struct<.*>|(named)?tuple\(.*\))$/;

/** Lists of one item type: `int8[]` (PostgreSQL), Array(Int8) (ClickHouse), list<item: int8> and its relatives (Arrow). */
const LISTS = [/^array\((.+)\)$/, /^(?:large_|fixed_size_)?list<(?:(?:item|element): ?)?([^:]+)>(?:\[\d+\])?$/, /^(.+)\[\d*\]$/];

const ITEMS: Partial<Record<ColumnType, ColumnType>> = {
  uint64: 'list<uint64>',
  uint32: 'list<uint64>',
  uint8: 'list<uint64>',
  int64: 'list<int64>',
  int32: 'list<int64>',
  int16: 'list<int64>',
  float64: 'list<float64>',
  float32: 'list<float64>',
  string: 'list<string>',
};

/** The column type that a name means, in any case and spacing; undefined for a name that is not known. */
export function columnTypeOf(name: string): ColumnType | undefined {
  const plain = name
    .trim()
    .toLowerCase()
    .replace(/\s+/g, ' ')
    .replace(/\s*([<>(),])\s*/g, '$1');
  const known = TYPES.get(plain) ?? TYPES.get(PARAMETERS.exec(plain)?.[1] ?? '');
  if (known !== undefined) return known;
  if (STRUCT.test(plain)) return 'json';
  const item = LISTS.map((pattern) => pattern.exec(plain)?.[1]).find((found) => found !== undefined);
  // A list of what no list type holds is JSON, as it is when it comes in an Arrow stream.
  if (item !== undefined) return itemTypeOf(item);
  return isHeldDecimal(plain) ? 'decimal' : undefined;
}

function itemTypeOf(name: string): ColumnType | undefined {
  const item = columnTypeOf(name);
  return item === undefined ? undefined : (ITEMS[item] ?? 'json');
}

function isHeldDecimal(name: string): boolean {
  const [, , bits, first, second] = DECIMAL.exec(name) ?? [];
  if (first === undefined) return false;
  const onlyScale = bits !== '' && second === undefined;
  const scale = Number(second ?? (onlyScale ? first : 0));
  return scale >= 0 && scale <= DECIMAL_DIGITS && (onlyScale || Number(first) - scale <= DECIMAL_DIGITS);
}
