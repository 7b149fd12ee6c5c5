/** The answer to CommandGetSqlInfo (FS1, FS5): code and value, the value in the dense union that Flight SQL fixes. */
import {
  Bool,
  type Data,
  DenseUnion,
  Field,
  Int32,
  Int64,
  List,
  Map_,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  Table,
  tableToIPC,
  Uint32,
  Utf8,
  vectorFromArray,
} from 'apache-arrow';

/** Codes of SqlInfo in the Flight SQL specification. */
const INFO = {
  serverName: 0,
  serverVersion: 1,
  arrowVersion: 2,
  readOnly: 3,
  sql: 4,
  substrait: 5,
  transaction: 8,
  cancel: 9,
  bulkIngestion: 10,
  ingestTransactions: 11,
  statementTimeout: 100,
  transactionTimeout: 101,
  ddlCatalog: 500,
  ddlSchema: 501,
  ddlTable: 502,
  identifierCase: 503,
  quoteCharacter: 504,
  quotedIdentifierCase: 505,
} as const;

/** Type ids of the union: text, bool, int64, then three that no answer of ours uses. */
const UNION = { text: 0, bool: 1, int64: 2 } as const;

type InfoValue = string | boolean | bigint;

/** Statements are read only, but rows can be ingested: the server as a whole is not read only. */
const VALUES: ReadonlyMap<number, InfoValue> = new Map<number, InfoValue>([
  [INFO.serverName, 'Thermocline'],
  [INFO.serverVersion, '0.1'],
  [INFO.arrowVersion, '21'],
  [INFO.readOnly, false],
  [INFO.sql, true],
  [INFO.substrait, false],
  [INFO.transaction, 0n],
  [INFO.cancel, false],
  [INFO.bulkIngestion, true],
  [INFO.ingestTransactions, false],
  [INFO.statementTimeout, 0n],
  [INFO.transactionTimeout, 0n],
  [INFO.ddlCatalog, false],
  [INFO.ddlSchema, false],
  [INFO.ddlTable, false],
  [INFO.identifierCase, 2n],
  [INFO.quoteCharacter, '"'],
  [INFO.quotedIdentifierCase, 3n],
]);

const unionFields = (): Field[] => [
  new Field('string_value', new Utf8(), true),
  new Field('bool_value', new Bool(), true),
  new Field('bigint_value', new Int64(), true),
  new Field('int32_bitmask', new Int32(), true),
  new Field('string_list', new List(new Field('item', new Utf8(), true)), true),
  new Field(
    'int32_to_int32_list_map',
    new Map_(
      new Field(
        'entries',
        new Struct([
          new Field('key', new Int32(), false),
          new Field('value', new List(new Field('item', new Int32(), true)), true),
        ]) as never,
        false,
      ),
    ),
    true,
  ),
];

/** An IPC stream with the infos asked for, all without codes; codes that are not known are left out. */
export function sqlInfo(codes: readonly number[]): Uint8Array {
  const wanted = codes.length === 0 ? [...VALUES.keys()] : [...new Set(codes)].filter((code) => VALUES.has(code));
  const texts: string[] = [];
  const bools: boolean[] = [];
  const longs: bigint[] = [];
  const typeIds = new Int8Array(wanted.length);
  const valueOffsets = new Int32Array(wanted.length);
  for (const [i, code] of wanted.entries()) {
    const value = VALUES.get(code);
    if (typeof value === 'string') {
      typeIds[i] = UNION.text;
      valueOffsets[i] = texts.push(value) - 1;
    } else if (typeof value === 'boolean') {
      typeIds[i] = UNION.bool;
      valueOffsets[i] = bools.push(value) - 1;
    } else {
      typeIds[i] = UNION.int64;
      valueOffsets[i] = longs.push(value ?? 0n) - 1;
    }
  }
  const fields = unionFields();
  const children = [
    column(texts, new Utf8()),
    column(bools, new Bool()),
    column(longs, new Int64()),
    ...fields.slice(3).map(({ type }) => emptyData(type)),
  ];
  const type = new DenseUnion([0, 1, 2, 3, 4, 5], fields);
  const values = makeData({ type, length: wanted.length, nullCount: 0, typeIds, valueOffsets, children });
  const names = makeData({ type: new Uint32(), length: wanted.length, nullCount: 0, data: Uint32Array.from(wanted) });
  const schema = new Schema([new Field('info_name', new Uint32(), false), new Field('value', type, false)]);
  const rows = makeData({ type: new Struct(schema.fields), length: wanted.length, nullCount: 0, children: [names, values] });
  return tableToIPC(new Table([new RecordBatch(schema, rows as never)]), 'stream');
}

const column = (values: readonly InfoValue[], type: Utf8 | Bool | Int64): Data =>
  values.length === 0 ? emptyData(type) : vectorFromArray(values as never, type as never).data[0];

/** No values of a type, its children as empty. */
function emptyData(type: Field['type']): Data {
  const children = (type.children ?? []).map((child: Field) => emptyData(child.type));
  return makeData({ type, length: 0, nullCount: 0, children, child: children[0] } as never);
}
