/** Which column type the values of a foreign Arrow field have. */
import type { ForeignField } from '../columnar/foreign-schema';
import type { ColumnType, TableSchema } from '../core/table-schema';
import { isBuiltin, isTimeName } from './friendly-names';
import { type InferredColumns, newColumns } from './new-columns';

/**
 * The columns that rows of these fields need beyond `known`; `declared` types go before those of the fields.
 */
export function columnsOfFields(
  fields: readonly ForeignField[],
  known: TableSchema | undefined,
  declared?: ReadonlyMap<string, ColumnType>,
): InferredColumns {
  if (known !== undefined && isBuiltin(known.table)) return { columns: [], timeColumn: known.timeColumn };
  const types = new Map<string, ColumnType>();
  for (const field of fields) {
    const type = declared?.get(field.name) ?? columnTypeOf(field);
    if (type === undefined) continue;
    // A time of day or a duration is a number of ticks too, but not since 1970.
    const isEpoch = isTimeName(field.name) && EPOCH_TYPES.has(type) && field.ticks === undefined;
    types.set(field.name, isEpoch ? 'timestamp' : type);
  }
  return newColumns(types, known);
}

/** Types that can be a time under the name of one. */
const EPOCH_TYPES = new Set<ColumnType>(['int64', 'uint64']);

/** The type that holds every value of the field, and JSON for what no other one does; undefined for nothing but nulls. */
export function columnTypeOf(field: ForeignField): ColumnType | undefined {
  const { type } = field;
  switch (type.kind) {
    case 'null':
      return undefined;
    case 'bool':
    case 'timestamp':
    case 'date':
    case 'decimal':
    case 'binary':
      return type.kind;
    case 'fixed_binary':
      return 'binary';
    case 'utf8':
      return 'string';
    case 'float':
      return type.bits === 32 ? 'float32' : 'float64';
    case 'int':
      return type.signed ? SIGNED[type.bits] : UNSIGNED[type.bits];
    case 'list':
      return listType(field);
    case 'map':
      return field.children[0].children[0].type.kind === 'utf8' ? 'attributes' : 'json';
    case 'struct':
    default:
      return 'json';
  }
}

const SIGNED = { 8: 'int16', 16: 'int16', 32: 'int32', 64: 'int64' } as const;
const UNSIGNED = { 8: 'uint8', 16: 'int32', 32: 'uint32', 64: 'uint64' } as const;

/** Lists of anything else than numbers and strings are JSON. */
function listType({ children: [{ type }] }: ForeignField): ColumnType {
  if (type.kind === 'int') return type.signed ? 'list<int64>' : 'list<uint64>';
  if (type.kind === 'float') return 'list<float64>';
  return type.kind === 'utf8' ? 'list<string>' : 'json';
}

/** Does the field hold structs, maps or lists? */
export const isNested = ({ type: { kind } }: ForeignField): boolean => kind === 'struct' || kind === 'map' || kind === 'list';

/** Struct<kind: uint8, text: utf8> (core/table-schema.ts). */
export function isKindAndText(value: ForeignField): boolean {
  const [kind, text] = value.children;
  if (value.type.kind !== 'struct' || value.dictionary !== undefined || value.children.length !== 2) return false;
  const isKind = kind.type.kind === 'int' && kind.type.bits === 8 && !kind.type.signed && kind.dictionary === undefined;
  return kind.name === 'kind' && text.name === 'text' && isKind && text.type.kind === 'utf8' && text.dictionary === undefined;
}
