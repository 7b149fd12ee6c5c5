/**
 * What Flight SQL clients ask of a database when they connect. Each tier is a catalog, `hot` and `cold`, with one schema that
 * has no name; every table is of the type TABLE.
 */
import {
  Binary,
  type DataType,
  Field,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  Table,
  tableToIPC,
  Utf8,
  vectorFromArray,
} from 'apache-arrow';
import type { TableSchema, Tier } from '../../core/table-schema';
import { sqlInfo } from './sql-info';
import { readSqlInfo, readTablesFilter, type SqlCommand } from './sql-messages';
import { tableSchemaMessage } from './table-types';

const CATALOGS: readonly Tier[] = ['cold', 'hot'];
const TABLE_TYPE = 'TABLE';

type Row = readonly (string | Uint8Array | null)[];

/** The rows of a metadata command as an IPC stream; undefined for any other command. Throws IngestError. */
export function sqlMetadata({ name, value }: SqlCommand, tables: readonly TableSchema[]): Uint8Array | undefined {
  switch (name) {
    case 'CommandGetSqlInfo':
      return sqlInfo(readSqlInfo(value));
    case 'CommandGetCatalogs':
      return answer(
        [['catalog_name', false]],
        CATALOGS.map((catalog) => [catalog]),
      );
    case 'CommandGetDbSchemas':
      return dbSchemas(value);
    case 'CommandGetTableTypes':
      return answer([['table_type', false]], [[TABLE_TYPE]]);
    case 'CommandGetTables':
      return listTables(value, tables);
    default:
      return undefined;
  }
}

function dbSchemas(message: Buffer): Uint8Array {
  const { catalog, schemaPattern } = readTablesFilter(message);
  const rows = CATALOGS.filter((name) => isCatalog(catalog, name) && matches('', schemaPattern)).map((name): Row => [name, '']);
  return answer(
    [
      ['catalog_name', true],
      ['db_schema_name', false],
    ],
    rows,
  );
}

function listTables(message: Buffer, tables: readonly TableSchema[]): Uint8Array {
  const { catalog, schemaPattern, tablePattern, tableTypes, includeSchema } = readTablesFilter(message);
  const isWanted = tableTypes.length === 0 || tableTypes.includes(TABLE_TYPE);
  const found = tables
    .filter(({ table, tier }) => isCatalog(catalog, tier) && matches('', schemaPattern) && matches(table, tablePattern))
    .sort((a, b) => (`${a.tier}.${a.table}` < `${b.tier}.${b.table}` ? -1 : 1));
  const rows = (isWanted ? found : []).map((schema): Row => {
    const row: Row = [schema.tier, '', schema.table, TABLE_TYPE];
    return includeSchema ? [...row, tableSchemaMessage(schema)] : row;
  });
  const columns: [string, boolean, DataType?][] = [
    ['catalog_name', true],
    ['db_schema_name', true],
    ['table_name', false],
    ['table_type', false],
  ];
  return answer(includeSchema ? [...columns, ['table_schema', false, new Binary()]] : columns, rows);
}

/** An empty catalog is the one without a name, which no table is in. */
const isCatalog = (wanted: string | undefined, name: string): boolean => wanted === undefined || wanted === name;

/** SQL LIKE without an escape character: % is any text, _ any character. */
function matches(text: string, pattern: string | undefined): boolean {
  if (pattern === undefined) return true;
  return like(Array.from(text), Array.from(pattern));
}

/** Linear in text times pattern, whatever the pattern. */
function like(text: readonly string[], pattern: readonly string[]): boolean {
  let reachable: boolean[] = [true, ...text.map(() => false)];
  for (const wanted of pattern) {
    const next = reachable.map(() => false);
    for (let at = 0; at <= text.length; at++) {
      if (wanted === '%') next[at] = reachable[at] || (at > 0 && next[at - 1]);
      else next[at] = at > 0 && reachable[at - 1] && (wanted === '_' || wanted === text[at - 1]);
    }
    reachable = next;
  }
  return reachable[text.length];
}

/** Columns as name, nullable and type; text without one. */
function answer(columns: readonly [string, boolean, DataType?][], rows: readonly Row[]): Uint8Array {
  const fields = columns.map(([name, nullable, type = new Utf8()]) => new Field(name, type, nullable));
  const schema = new Schema(fields);
  if (rows.length === 0) return tableToIPC(new Table(schema), 'stream');
  const children = fields.map(({ type }, i) => vectorFromArray(rows.map((row) => row[i]) as never, type as never).data[0]);
  const data = makeData({ type: new Struct(fields), length: rows.length, nullCount: 0, children });
  return tableToIPC(new Table([new RecordBatch(schema, data as never)]), 'stream');
}
