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
import type { HttpExchange, HttpReply, HttpRoute } from '../http-contract';
import { withBody } from '../request-body';
import { definitionOf } from '../table-registration';
import { changesOf } from './dry-run';
import { readRegistration } from './register-request';
import { isSet, json, schemaJson } from './reply';
import { diffSchema } from './schema-diff';

/** Makes a table in the stores; resolves with what is made when the time for it is over. Never rejects. */
export type EnsureTable = (schema: TableSchema) => Promise<Partial<Record<Tier, 'ready' | 'pending'>>>;

export interface SchemaRoutesOptions {
  readonly ingest: Ingest;
  readonly registry: SchemaRegistry;
  readonly stores: readonly StoreTables[];
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

async function list({ query }: HttpExchange, { registry, stores }: SchemaRoutesOptions): Promise<HttpReply> {
  const describe = isSet(query.get('diff'), 'diff') ? withDifferences : schemaJson;
  const tables: object[] = [];
  for (const schema of registry.list()) tables.push(await describe(schema, stores));
  return json(200, { tables });
}

async function show({ query, param }: HttpExchange, options: SchemaRoutesOptions): Promise<HttpReply> {
  const table = options.tableOf(param);
  const schema = table === undefined ? undefined : options.registry.get(table);
  if (schema === undefined) throw new IngestError('not_found', 'no such table', { at: 'table' });
  return json(200, isSet(query.get('diff'), 'diff') ? await withDifferences(schema, options.stores) : schemaJson(schema));
}

async function withDifferences(schema: TableSchema, stores: readonly StoreTables[]): Promise<object> {
  return { ...schemaJson(schema), differences: await diffSchema(schema, stores) };
}

function register(exchange: HttpExchange, options: SchemaRoutesOptions): Promise<HttpReply> {
  const { ingest, registry, stores, ensureTable } = options;
  const dryRun = isSet(exchange.query.get('dry_run'), 'dry_run');
  return withBody(exchange, ingest, BODY_BYTES_MAX, async ({ body }) => {
    const request = readRegistration(body);
    const known = registry.get(request.table);
    const definition = definitionOf(request, known);
    if (dryRun) {
      const after = registry.previewRegistration(definition);
      const ddl = stores.map((store) => ({ tier: store.tier, ddl: known === after ? [] : store.explain(after, known) }));
      return json(200, { dry_run: true, ...schemaJson(after), changes: changesOf(known, after), stores: ddl });
    }
    const schema = await registry.register(definition);
    const stored = (await ensureTable?.(schema)) ?? {};
    // The stores may have had more of it, by other servers.
    return json(200, { ...schemaJson(registry.get(schema.table) ?? schema), stores: stored });
  });
}
