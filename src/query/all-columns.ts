/**
 * Columns on their way from PostgreSQL to ClickHouse as text: COPY's text format and ClickHouse's TabSeparated are the same for what goes
 * through here (tabs, newlines and backslashes are escaped alike, null is \N). Expressions are pure text.
 */
import { jsonMap, literal } from '../core/clickhouse-sql';
import { quoteIdentifier } from '../core/postgres-sql';
import { type ColumnSchema, type ColumnType, NANOS_SUFFIX, type TableSchema } from '../core/table-schema';

/** Texts of one column: what PostgreSQL sends, and what ClickHouse makes of it. */
export interface CarriedColumn {
  readonly name: string;
  /** Expressions of PostgreSQL, each a column of the text. */
  readonly sent: readonly string[];
  /** Expression of ClickHouse over the columns of the text, of the table's type. */
  readonly made: string;
}

/** From a Nullable(String). */
function value(type: ColumnType, text: string): string {
  switch (type) {
    case 'timestamp':
      return `toDateTime64OrNull(${text}, 9, 'UTC')`;
    case 'date':
      return `toDate32OrNull(${text})`;
    case 'bool':
      return `if(isNull(${text}), NULL, ${text} = 't')`;
    case 'int16':
    case 'int32':
    case 'int64':
      return `toInt64OrNull(${text})`;
    case 'uint8':
    case 'uint32':
    case 'uint64':
      return `toUInt64OrNull(${text})`;
    case 'float32':
    case 'float64':
      return `toFloat64OrNull(${text})`;
    case 'decimal':
      return `toDecimal256OrNull(${text}, 38)`;
    case 'attributes':
      return jsonMap(`ifNull(${text}, '{}')`);
    case 'binary':
      return `unhex(ifNull(${text}, ''))`;
    case 'string':
    case 'json':
      return `ifNull(${text}, '')`;
    case 'list<uint64>':
    case 'list<int64>':
    case 'list<float64>':
    case 'list<string>':
      return `ifNull(${text}, '[]')`;
  }
}

/** PostgreSQL's text of a column that is written otherwise than ClickHouse reads it. */
function sentText({ name, type }: ColumnSchema): string {
  const column = quoteIdentifier(name);
  if (type === 'timestamp') return `(${column} AT TIME ZONE 'UTC')::text`;
  if (type === 'binary') return `encode(${column}, 'hex')`;
  return type.startsWith('list') ? `to_json(${column})::text` : column;
}

/**
 * `schema`: by store names. `types`: those of the ClickHouse table. `columns`: what is asked for. Texts are the columns `c0`, `c1`, ... in
 * the order of `sent`.
 */
export function carriedColumns(
  schema: TableSchema,
  types: ReadonlyMap<string, string>,
  columns: ReadonlySet<string>,
): CarriedColumn[] {
  let sentBefore = 0;
  return schema.columns
    .filter(({ name }) => columns.has(name))
    .map((column): CarriedColumn => {
      const { name, type } = column;
      const first = `c${sentBefore}`;
      const nanos = type === 'timestamp' ? [quoteIdentifier(`${name}${NANOS_SUFFIX}`)] : [];
      const sent = [sentText(column), ...nanos];
      const plain = value(type, first);
      const exact =
        type === 'timestamp' ? `${plain} + toIntervalNanosecond(toInt64OrZero(ifNull(c${sentBefore + 1}, '0')))` : plain;
      sentBefore += sent.length;
      const target = types.get(name) ?? 'String';
      const made = type.startsWith('list') ? `JSONExtract(${exact}, ${literal(target)})` : `CAST(${exact}, ${literal(target)})`;
      return { name, sent, made };
    });
}
