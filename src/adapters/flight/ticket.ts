/**
 * What a ticket asks for. A client may make one itself: the name of a table, or JSON, `{"table":"cars"}` or
 * `{"sql":"SELECT ...","tier":"cold"}`. Those that GetFlightInfo gives out are of the same form, or a Flight SQL command.
 */
import { IngestError } from '../../core/errors';
import type { TableName } from '../../core/ids';
import type { Tier } from '../../core/table-schema';
import { checkTableName } from '../schema-on-write';
import { readSqlCommand, type SqlCommand } from './sql-messages';
import { checkedTier } from './table-writer';
import { malformed } from './wire';

export type Wanted =
  | { readonly kind: 'table'; readonly table: TableName }
  | { readonly kind: 'sql'; readonly sql: string; readonly tier: Tier }
  | { readonly kind: 'command'; readonly command: SqlCommand };

/** Throws IngestError `invalid_argument`. */
export function readTicket(ticket: Buffer): Wanted {
  if (ticket.length === 0) throw malformed('the ticket is empty');
  if (ticket[0] === '{'.charCodeAt(0)) return readJson(ticket.toString());
  const command = readSqlCommand(ticket);
  return command === undefined ? { kind: 'table', table: checkTableName(ticket.toString()) } : { kind: 'command', command };
}

function readJson(text: string): Wanted {
  const { table, sql, tier } = jsonObject(text, 'the ticket');
  if (typeof table === 'string') return { kind: 'table', table: checkTableName(table) };
  if (typeof sql !== 'string') throw malformed('the ticket must have a member table or sql');
  return { kind: 'sql', sql, tier: checkedTier(tier, 'tier') ?? 'hot' };
}

/** Members of a JSON object from outside; '' is an empty one. Throws IngestError `invalid_argument`. */
export function jsonObject(text: string, what: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = text === '' ? {} : JSON.parse(text);
  } catch (error) {
    throw new IngestError('invalid_argument', `${what} is not JSON`, { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed(`${what} is not a JSON object`);
  return value as Record<string, unknown>;
}

export const tableTicket = (table: TableName): Buffer => Buffer.from(JSON.stringify({ table }));

export const sqlTicket = (sql: string, tier: Tier): Buffer => Buffer.from(JSON.stringify({ sql, tier }));
