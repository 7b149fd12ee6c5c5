/** Tables in ingest.proto: what a registration asks for, and tables and dry runs as answers show them. */
import { IngestError } from '../../core/errors';
import {
  CONFLICT_POLICIES,
  type ConflictPolicy,
  TABLE_POLICIES,
  type TablePolicy,
  type TableSchema,
  type Tier,
} from '../../core/table-schema';
import type { DryRun } from '../dry-run';
import { checkTableName } from '../schema-on-write';
import type { DefinitionRequest } from '../table-registration';

/** An enum as the library gives it: its name, or the number of a value that it does not know. */
type EnumValue = string | number;

interface ColumnMessage {
  readonly name: string;
  readonly type: string;
  readonly required: boolean;
  readonly lowCardinality: boolean;
  readonly conflictPolicy: EnumValue;
}

export interface RegisterTableRequest {
  readonly table: string;
  readonly columns: readonly ColumnMessage[];
  readonly timeColumn: string;
  readonly tier: EnumValue;
  readonly policy: EnumValue;
  readonly dryRun: boolean;
}

export const TIERS: Readonly<Record<Tier, string>> = { hot: 'TIER_HOT', cold: 'TIER_COLD' };
const TIER_NAMES: readonly Tier[] = ['hot', 'cold'];

const policyName = (prefix: string, policy: string): string => `${prefix}_${policy.toUpperCase()}`;

/** Undefined for the value `..._UNSPECIFIED`. Throws IngestError `invalid_argument` for one that is not known. */
function readEnum<T extends string>(prefix: string, values: readonly T[], name: EnumValue, at: string): T | undefined {
  if (name === `${prefix}_UNSPECIFIED`) return undefined;
  const found = values.find((value) => policyName(prefix, value) === name);
  if (found === undefined) throw new IngestError('invalid_argument', `unknown ${prefix.toLowerCase()}`, { at });
  return found;
}

/** Throws IngestError `invalid_argument`. */
export function readRegistration(request: RegisterTableRequest): DefinitionRequest {
  return {
    table: checkTableName(request.table),
    columns: request.columns.map(({ name, type, required, lowCardinality, conflictPolicy }, i) => {
      const at = `columns[${i}].conflict_policy`;
      const conflict = readEnum<ConflictPolicy>('CONFLICT_POLICY', CONFLICT_POLICIES, conflictPolicy, at);
      return { name, type, required, lowCardinality, conflict };
    }),
    timeColumn: request.timeColumn === '' ? undefined : request.timeColumn,
    tier: readEnum<Tier>('TIER', TIER_NAMES, request.tier, 'tier'),
    policy: readEnum<TablePolicy>('TABLE_POLICY', TABLE_POLICIES, request.policy, 'policy'),
  };
}

export const tableMessage = ({ table, version, columns, timeColumn, tier, policy = 'evolve' }: TableSchema): object => ({
  name: table,
  version,
  columns: columns.map(({ name, type, nullable, lowCardinality = false, conflict = 'widen', storeName, exactOf }) => ({
    name,
    type,
    required: !nullable,
    lowCardinality,
    conflictPolicy: policyName('CONFLICT_POLICY', conflict),
    storeName,
    exactOf,
  })),
  timeColumn,
  tier: TIERS[tier],
  policy: policyName('TABLE_POLICY', policy),
});

export const dryRunMessage = ({ current, after, changes, tiers, stores }: DryRun): object => ({
  current: current === undefined ? undefined : tableMessage(current),
  after: after === undefined ? undefined : tableMessage(after),
  changes: changes.map(({ column, from, type }) => ({ column, typeBefore: from, type })),
  tiers: tiers.map((tier) => TIERS[tier]),
  stores: stores.map(({ tier, columns, ddl }) => ({
    tier: TIERS[tier],
    columns: columns.map(({ column, storeColumn, storeType }) => ({ column, storeColumn, storeType })),
    statements: ddl,
  })),
});
