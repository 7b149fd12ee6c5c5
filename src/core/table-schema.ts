import type { TableName } from './ids';

/** Where a table lives: `hot` is PostgreSQL, `cold` is ClickHouse. */
export type Tier = 'hot' | 'cold';

/**
 * Logical column types: one name for what a value is, whatever store or protocol it comes from or goes to.
 *
 * | type        | Arrow in the record batch                       | PostgreSQL            | ClickHouse                             |
 * |-------------|-------------------------------------------------|-----------------------|----------------------------------------|
 * | timestamp   | Timestamp(ns, 'UTC')                            | timestamptz + `_ns`   | DateTime64(9, 'UTC')                   |
 * | string      | Utf8 or Dictionary<Int32, Utf8>                 | text                  | String / LowCardinality(String)        |
 * | json        | Utf8 holding JSON text                          | jsonb                 | String                                 |
 * | attributes  | Map<Utf8, Struct<kind, text>>, see below        | jsonb (types kept)    | Map(LowCardinality(String), String)    |
 * | uint64      | Uint64                                          | numeric(20,0)         | UInt64                                 |
 * | uint32      | Uint32                                          | bigint                | UInt32                                 |
 * | decimal     | Decimal256(76, 38), see below                   | numeric               | Decimal(76, 38)                        |
 * | binary      | Binary                                          | bytea                 | String                                 |
 * | list<T>     | List<T>                                         | T[]                   | Array(T)                               |
 *
 * `attributes` keeps the type of every value beside its text: `kind` is the field number of the value in
 * `opentelemetry.proto.common.v1.AnyValue` (see ATTRIBUTE_KIND), `text` is the string itself for strings, base64 for bytes
 * and JSON text for everything else (integers in full, doubles always with a fraction or exponent).
 * `decimal` has no parameters: at most 38 digits before the point and 38 behind it, which holds every int64 and uint64 and the
 * usual decimals of SQL and Arrow exactly, without zeros at the end of a fraction.
 * Any column may also arrive dictionary-encoded (Dictionary<Int32, T>): readers must accept both forms.
 */
export type ColumnType =
  | 'timestamp'
  | 'string'
  | 'json'
  | 'attributes'
  | 'bool'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'uint8'
  | 'uint32'
  | 'uint64'
  | 'decimal'
  | 'float32'
  | 'float64'
  | 'binary'
  | 'date'
  | 'list<uint64>'
  | 'list<int64>'
  | 'list<float64>'
  | 'list<string>';

/** `kind` of an attribute value: the field number in AnyValue; 0 is the AnyValue without a value. */
export const ATTRIBUTE_KIND = {
  empty: 0,
  string: 1,
  bool: 2,
  int: 3,
  double: 4,
  array: 5,
  kvlist: 6,
  bytes: 7,
} as const;

/** May rows change the table: add columns and widen them (`evolve`); or not (`strict`); may registrations neither (`freeze`)? */
export const TABLE_POLICIES = ['evolve', 'strict', 'freeze'] as const;
export type TablePolicy = (typeof TABLE_POLICIES)[number];

/**
 * What happens to a value that does not fit its column.
 * - `widen`: a number gives the column a wider numeric type that holds the old values and the new one; anything else refuses
 *   its row
 * - `coerce`: as `widen`, and where no number will do the column becomes text (JSON for arrays and objects)
 * - `side_column`: the value goes to CONFLICTS_COLUMN under the column's name, the column itself is null
 * - `dead_letter`: the row becomes a dead letter
 */
export const CONFLICT_POLICIES = ['widen', 'coerce', 'side_column', 'dead_letter'] as const;
export type ConflictPolicy = (typeof CONFLICT_POLICIES)[number];

/** A json column with an object of the values that did not fit their columns. */
export const CONFLICTS_COLUMN = '_conflicts';
/** A json column with an object of the members for which the table has no room (LIMITS.columnsMax). */
export const OVERFLOW_COLUMN = '_overflow';

export interface ColumnSchema {
  readonly name: string;
  readonly type: ColumnType;
  /** May a row leave it out. `attributes` and `list` columns are never null in ClickHouse: an absent one is empty there. */
  readonly nullable: boolean;
  /** Few distinct values: LowCardinality in ClickHouse, dictionary-encoded in the record batch where that is cheap. */
  readonly lowCardinality?: boolean;
  /** Absent: `widen`. */
  readonly conflict?: ConflictPolicy;
  /** Name in the stores, when they cannot have the column's own (core/column-name.ts). */
  readonly storeName?: string;
  /** The float64 column of which this int64 column keeps the exact integers; it was made when that one was widened. */
  readonly exactOf?: string;
}

export interface TableSchema {
  readonly table: TableName;
  /** Counts up with each change, from 1; one number for both stores. */
  readonly version: number;
  readonly columns: readonly ColumnSchema[];
  /** The `timestamp` column that partitions and orders the table. */
  readonly timeColumn: string;
  /** Home tier, unless routing says otherwise. */
  readonly tier: Tier;
  /** Absent: `evolve`. */
  readonly policy?: TablePolicy;
}

/** Suffix of the PostgreSQL smallint column with the nanoseconds below the microsecond, one for each timestamp column. */
export const NANOS_SUFFIX = '_ns';
