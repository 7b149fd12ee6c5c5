/** The table registry as people and tools read it with SQL: what tables there are, their columns, and every earlier version. */
import { schemaToJson } from '../../core/merge-schema';
import type { TableSchema } from '../../core/table-schema';

export const CREATE_REGISTRY = [
  `CREATE TABLE IF NOT EXISTS table_registry (
  table_name text PRIMARY KEY,
  schema     jsonb,
  created_at timestamptz DEFAULT now(),
  version    integer,
  tier       text,
  policy     text
)`,
  // The registry of an earlier installation may have the first three columns only.
  `ALTER TABLE table_registry ADD COLUMN IF NOT EXISTS version integer, ADD COLUMN IF NOT EXISTS tier text,
  ADD COLUMN IF NOT EXISTS policy text`,
  `CREATE TABLE IF NOT EXISTS table_registry_history (
  table_name text NOT NULL,
  version    integer NOT NULL,
  schema     jsonb NOT NULL,
  tier       text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (table_name, version)
)`,
];

export const SELECT_REGISTRY = `SELECT table_name, schema, version, tier, policy FROM table_registry`;

/** Parameters: `registryValues`. A server of an older version leaves the newer row alone. */
export const UPSERT_REGISTRY = `INSERT INTO table_registry AS r (table_name, schema, version, tier, policy) VALUES ($1, $2, $3, $4, $5)
  ON CONFLICT (table_name) DO UPDATE
  SET schema = EXCLUDED.schema, version = EXCLUDED.version, tier = EXCLUDED.tier, policy = coalesce(EXCLUDED.policy, r.policy)
  WHERE (r.schema, r.version, r.tier, r.policy)
      IS DISTINCT FROM (EXCLUDED.schema, EXCLUDED.version, EXCLUDED.tier, coalesce(EXCLUDED.policy, r.policy))
    AND coalesce(r.version, 0) <= EXCLUDED.version`;

export const INSERT_HISTORY = `INSERT INTO table_registry_history (table_name, schema, version, tier) VALUES ($1, $2, $3, $4)
  ON CONFLICT DO NOTHING`;

export const registryValues = (schema: TableSchema): unknown[] => [...historyValues(schema), schema.policy ?? null];

export const historyValues = (schema: TableSchema): unknown[] => [
  schema.table,
  JSON.stringify(schemaToJson(schema)),
  schema.version,
  schema.tier,
];
