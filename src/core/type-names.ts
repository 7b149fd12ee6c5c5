import type { ColumnType } from './table-schema';

/**
 * Names of column types that a registration may use: the logical ones of table-schema.ts and the usual names of SQL
 * (PostgreSQL, ClickHouse) and Arrow. Where two worlds mean different widths by one name (int8, float), it is the wider one. A name of a
 * type that no column type holds exactly (decimal, interval, time of day) is not here.
 */
const NAMES: Readonly<Record<ColumnType, readonly string[]>> = {
  timestamp: ['timestamptz', 'timestamp with time zone', 'timestamp without time zone', 'datetime', 'datetime64', 'timestamp_ns'],
  string: ['text', 'varchar', 'character varying', 'char', 'character', 'bpchar', 'utf8', 'large_string', 'large_utf8', 'uuid'],
  json: ['jsonb', 'object'],
  attributes: ['map', 'map<string,string>'],
  bool: ['boolean'],
  int16: ['smallint', 'int2', 'tinyint'],
  int32: ['int', 'integer', 'int4', 'uint16'],
  int64: ['bigint', 'long', 'int8'],
  uint8: ['utinyint'],
  uint32: ['uint', 'uinteger'],
  uint64: ['ubigint', 'ulong'],
  float32: ['real', 'float4', 'single'],
  float64: ['double', 'double precision', 'float', 'float8'],
  binary: ['bytea', 'bytes', 'blob', 'varbinary', 'large_binary'],
  date: ['date32', 'date32[day]'],
  'list<uint64>': ['array(uint64)', 'uint64[]'],
  'list<int64>': ['bigint[]', 'int64[]', 'array(int64)'],
  'list<float64>': ['double[]', 'double precision[]', 'float8[]', 'float64[]', 'list<double>', 'array(float64)'],
  'list<string>': ['text[]', 'varchar[]', 'string[]', 'list<text>', 'list<utf8>', 'array(string)'],
};

const TYPES: ReadonlyMap<string, ColumnType> = new Map(
  (Object.entries(NAMES) as [ColumnType, readonly string[]][]).flatMap(([type, names]) =>
    [type, ...names].map((name): [string, ColumnType] => [name, type]),
  ),
);

/** Length, precision or time zone in parentheses or brackets, which the column types do not have: varchar(20), datetime64(9, 'UTC'). */
const PARAMETERS = /^(varchar|character varying|char|character|bpchar|datetime64|timestamptz|timestamp)\s*(\(.*\)|\[.*\])$/;

/** The column type that a name means, in any case and spacing; undefined for a name that is not known. */
export function columnTypeOf(name: string): ColumnType | undefined {
  const plain = name
    .trim()
    .toLowerCase()
    .replace(/\s+/g, ' ')
    .replace(/\s*([<>(),])\s*/g, '$1');
  return TYPES.get(plain) ?? TYPES.get(PARAMETERS.exec(plain)?.[1] ?? '');
}
