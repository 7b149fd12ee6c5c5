/** Pieces of SQL that the views share. Every function takes and gives the text of an expression. */

import { jsonMap } from '../../core/clickhouse-sql';

export interface View {
  readonly name: string;
  /** The query over `table`, a quoted name. */
  readonly select: (table: string) => string;
}

/** One column of a view: expression and name. */
export type ViewColumn = readonly [expression: string, name: string];

export const selectList = (table: string, columns: readonly ViewColumn[], where?: string): string =>
  `SELECT ${columns.map(([expression, name]) => `${expression} AS \`${name}\``).join(', ')} FROM ${table}` +
  (where === undefined ? '' : ` WHERE ${where}`);

export const text = (expression: string): string => `CAST(${expression}, 'String')`;
export const lowCardinality = (expression: string): string => `CAST(${expression}, 'LowCardinality(String)')`;

/** A number of a Nullable column, 0 when there is none. */
export const orZero = (column: string): string => `ifNull(${column}, 0)`;

/** A column of an array of JSON objects: one value for each object `item`. */
export const eachItem = (json: string, value: string): string => `arrayMap(item -> ${value}, JSONExtractArrayRaw(${json}))`;

export const itemText = (key: string): string => `JSONExtractString(item, '${key}')`;

/** A member that holds nanoseconds since 1970 as a string of decimal digits. */
export const itemTime = (key: string): string => `fromUnixTimestamp64Nano(toInt64OrZero(${itemText(key)}), 'UTC')`;

/** The members of the `scope` map (core/builtin-tables.ts). */
export const SCOPE = {
  name: "`scope`['name']",
  version: "`scope`['version']",
  schemaUrl: "`scope`['schema_url']",
  attributes: jsonMap("`scope`['attributes']"),
  droppedAttributesCount: "toUInt32OrZero(`scope`['dropped_attributes_count'])",
  resourceSchemaUrl: "JSONExtractString(`scope`['resource'], 'schema_url')",
} as const;
