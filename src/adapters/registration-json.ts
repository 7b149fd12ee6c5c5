/** A registration as JSON: the body of `POST /schema/register` and of the Flight action `create_table`. */
import { IngestError } from '../core/errors';
import { CONFLICT_POLICIES, TABLE_POLICIES } from '../core/table-schema';
import { checkTableName } from './schema-on-write';
import type { ColumnDefinition, DefinitionRequest } from './table-registration';

const TABLE_KEYS = ['columns', 'tier', 'policy', 'time_column'];
const COLUMN_KEYS = new Set(['name', 'type', 'nullable', 'required', 'low_cardinality', 'conflict']);
const TIERS = ['hot', 'cold'] as const;

type Members = Readonly<Record<string, unknown>>;

/**
 * `nameKey`: the member with the name of the table. A column is `nullable` unless it is `required`.
 * Throws IngestError `invalid_argument`, with the place, for what is not a registration.
 */
export function readRegistration(body: Buffer, nameKey: 'table_name' | 'table'): DefinitionRequest {
  const members = objectOf(parse(body), 'body', new Set([nameKey, ...TABLE_KEYS]));
  const { columns } = members;
  const name = members[nameKey];
  if (typeof name !== 'string') throw invalid(`${nameKey} must be a string`, nameKey);
  if (!Array.isArray(columns)) throw invalid('columns must be an array', 'columns');
  return {
    table: checkTableName(name),
    columns: columns.map((column, i) => readColumn(column, `columns[${i}]`)),
    timeColumn: optionalText(members, 'time_column', 'time_column'),
    tier: oneOf(TIERS, members['tier'], 'tier'),
    policy: oneOf(TABLE_POLICIES, members['policy'], 'policy'),
  };
}

function readColumn(value: unknown, at: string): ColumnDefinition {
  const members = objectOf(value, at, COLUMN_KEYS);
  const name = optionalText(members, 'name', `${at}.name`);
  const type = optionalText(members, 'type', `${at}.type`);
  if (name === undefined) throw invalid('a column needs a name', `${at}.name`);
  if (type === undefined) throw invalid('a column needs a type', `${at}.type`);
  return {
    name,
    type,
    required: flag(members, 'required', !flag(members, 'nullable', true, at), at),
    lowCardinality: flag(members, 'low_cardinality', false, at),
    conflict: oneOf(CONFLICT_POLICIES, members['conflict'], `${at}.conflict`),
  };
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (error) {
    throw new IngestError('invalid_argument', 'the body is not JSON', { cause: error, at: 'body' });
  }
}

function objectOf(value: unknown, at: string, keys: ReadonlySet<string>): Members {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('expected an object', at);
  const unknown = Object.keys(value).find((key) => !keys.has(key));
  if (unknown !== undefined) throw invalid(`${JSON.stringify(unknown.slice(0, 80))} is not known here`, at);
  return value as Members;
}

function optionalText(members: Members, key: string, at: string): string | undefined {
  const value = members[key];
  if (value === undefined || typeof value === 'string') return value;
  throw invalid('expected a string', at);
}

function flag(members: Members, key: string, otherwise: boolean, at: string): boolean {
  const value = members[key];
  if (value === undefined) return otherwise;
  if (typeof value !== 'boolean') throw invalid('expected true or false', `${at}.${key}`);
  return value;
}

function oneOf<T extends string>(names: readonly T[], value: unknown, at: string): T | undefined {
  if (value === undefined) return undefined;
  const found = names.find((name) => name === value);
  if (found === undefined) throw invalid(`expected ${names.join(', ')}`, at);
  return found;
}

const invalid = (message: string, at: string): IngestError => new IngestError('invalid_argument', message, { at });
