/**
 * `/schema`: what tables there are, what the stores have of them, and registering them.
 *
 * - `GET /schema`, `GET /schema/{table}`: schemas in force; with `?diff=1` compared with the tables in the stores
 * - `POST /schema/register`: makes a table or adds columns to it; with `?dry_run=1` only tells what would be done
 */
import { IngestError } from '../../core/errors';
import type { TableName } from '../../core/ids';
import type { Ingest } from '../../core/ingest';
import type { SchemaRegistry, StoreTables } from '../../core/schema-registry';
import type { TableSchema, Tier } from '../../core/table-schema';
import { type DryRunStores, dryRunOfDefinition } from '../dry-run';
import type { HttpExchange, HttpReply, HttpRoute } from '../http-contract';
import { readRegistration } from '../registration-json';
import { withBody } from '../request-body';
import { schemaJson } from '../schema-json';
import { isSet } from '../switch';
import { definitionOf } from '../table-registration';
import { json } from './reply';
import { diffSchema } from './schema-diff';

/** Makes a table in the stores; resolves with what is made when the time for it is over. Never rejects. */
export type EnsureTable = (schema: TableSchema) => Promise<Partial<Record<Tier, 'ready' | 'pending'>>>;

export interface SchemaRoutesOptions {
  readonly ingest: Ingest;
  readonly registry: SchemaRegistry;
  readonly stores: DryRunStores;
  readonly ensureTable?: EnsureTable;
  /** The table of a name in a path, undefined for a text that is none. */
  readonly tableOf: (name: string) => TableName | undefined;
}

/** 1,500 columns with long names. */
const BODY_BYTES_MAX = 4 * 1024 * 1024;

export function schemaRoutes(options: SchemaRoutesOptions): HttpRoute[] {
  return [
    { method: 'GET', path: '/schema', handle: (exchange) => list(exchange, options) },
    { method: 'GET', path: '/schema/:table', handle: (exchange) => show(exchange, options) },
    { method: 'POST', path: '/schema/register', handle: (exchange) => register(exchange, options) },
  ];
}

async function list({ query }: HttpExchange, { registry, stores: { stores } }: SchemaRoutesOptions): Promise<HttpReply> {
  const describe = isSet(query.get('diff'), 'diff') ? withDifferences : schemaJson;
  const tables: object[] = [];
  for (const schema of registry.list()) tables.push(await describe(schema, stores));
  return json(200, { tables });
}

async function show({ query, param }: HttpExchange, options: SchemaRoutesOptions): Promise<HttpReply> {
  const table = options.tableOf(param);
  const schema = table === undefined ? undefined : options.registry.get(table);
  if (schema === undefined) throw new IngestError('not_found', 'no such table', { at: 'table' });
  return json(200, isSet(query.get('diff'), 'diff') ? await withDifferences(schema, options.stores.stores) : schemaJson(schema));
}

async function withDifferences(schema: TableSchema, stores: readonly StoreTables[]): Promise<object> {
  return { ...schemaJson(schema), differences: await diffSchema(schema, stores) };
}

function register(exchange: HttpExchange, options: SchemaRoutesOptions): Promise<HttpReply> {
  const { ingest, registry, stores, ensureTable } = options;
  const dryRun = isSet(exchange.query.get('dry_run'), 'dry_run');
  return withBody(exchange, ingest, BODY_BYTES_MAX, async ({ body }) => {
    const request = readRegistration(body, 'table_name');
    const definition = definitionOf(request, registry.get(request.table));
    if (dryRun) {
      const { after, changes, stores: plans } = dryRunOfDefinition(registry, definition, stores);
      const shown = after === undefined ? {} : schemaJson(after);
      return json(200, { dry_run: true, ...shown, changes, stores: plans.map(({ tier, ddl }) => ({ tier, ddl })) });
    }
    const schema = await registry.register(definition);
    const stored = (await ensureTable?.(schema)) ?? {};
    // The stores may have had more of it, by other servers.
    return json(200, { ...schemaJson(registry.get(schema.table) ?? schema), stores: stored });
  });
}
