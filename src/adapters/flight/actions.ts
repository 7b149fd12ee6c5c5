/** DoAction: what a Flight client can do beside reading and writing. Bodies and results are JSON but for those of Flight SQL. */
import { IngestError } from '../../core/errors';
import { type BatchId, type Lsn, parseBatchId } from '../../core/ids';
import type { BatchStatus, DeliveryProgress } from '../../core/ingest';
import { LIMITS } from '../../core/limits';
import type { SchemaRegistry } from '../../core/schema-registry';
import type { Tier } from '../../core/table-schema';
import { type DryRunStores, dryRunJson, dryRunOfDefinition } from '../dry-run';
import { readRegistration } from '../registration-json';
import { schemaJson } from '../schema-json';
import { definitionOf } from '../table-registration';
import { type Action, writeActionType } from './messages';
import { readSqlCommand, readStatementQuery, writePreparedStatement } from './sql-messages';
import { jsonObject, sqlTicket } from './ticket';
import { malformed } from './wire';

/** How far the log and the sinks are. */
export interface FlightProgress extends DeliveryProgress {
  /** The last durable entry. */
  durableLsn(): Lsn;
}

export interface ActionContext {
  readonly registry: SchemaRegistry;
  readonly progress: FlightProgress;
  readonly batches: BatchStatus;
  /** Store of statements that are prepared in this call. */
  readonly tier: Tier;
  /** Set: only tell what would be done (create_table). */
  readonly dryRun: DryRunStores | undefined;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
}

interface ActionKind {
  readonly description: string;
  /** The body of the one result, or none. Throws IngestError. */
  readonly run: (body: Buffer, context: ActionContext) => Promise<Buffer | undefined> | Buffer | undefined;
}

const TIERS: readonly Tier[] = ['hot', 'cold'];

const ACTIONS: ReadonlyMap<string, ActionKind> = new Map<string, ActionKind>([
  [
    'create_table',
    {
      description: 'makes a table or adds columns: {"table":"cars","columns":[{"name":"ts","type":"timestamp"}],"tier":"hot"}',
      run: createTable,
    },
  ],
  ['flush', { description: 'waits until both stores have what was accepted so far: {"timeout_ms":30000}', run: flush }],
  ['batch_status', { description: 'where a batch is, by its id in the trailer thermocline-last-batch', run: batchStatus }],
  ['CreatePreparedStatement', { description: 'Flight SQL: a statement without parameters', run: prepareStatement }],
  ['ClosePreparedStatement', { description: 'Flight SQL: nothing is kept, so there is nothing to do', run: () => undefined }],
]);

/** ActionType messages of all actions (FL13). */
export const listActions = (): Buffer[] => Array.from(ACTIONS, ([type, { description }]) => writeActionType(type, description));

/** Throws IngestError `unimplemented` for an action that is not known (FL13). */
export async function runAction({ type, body }: Action, context: ActionContext): Promise<Buffer | undefined> {
  const action = ACTIONS.get(type);
  if (action === undefined) throw new IngestError('unimplemented', `there is no action ${JSON.stringify(type.slice(0, 80))}`);
  return action.run(body, context);
}

const json = (value: object): Buffer => Buffer.from(JSON.stringify(value));

async function createTable(body: Buffer, { registry, dryRun }: ActionContext): Promise<Buffer> {
  const request = readRegistration(body, 'table');
  const definition = definitionOf(request, registry.get(request.table));
  if (dryRun !== undefined) return json(dryRunJson(dryRunOfDefinition(registry, definition, dryRun)));
  return json(schemaJson(await registry.register(definition)));
}

async function flush(body: Buffer, { progress, signal }: ActionContext): Promise<Buffer> {
  const { timeout_ms: timeoutMs = LIMITS.ackTimeoutMs } = jsonObject(body.toString(), 'the body of flush');
  if (typeof timeoutMs !== 'number' || !(timeoutMs >= 0)) throw malformed('timeout_ms must be a number');
  const at = progress.durableLsn();
  const limit = AbortSignal.timeout(Math.min(timeoutMs, LIMITS.ackTimeoutMs * 10));
  try {
    const both = AbortSignal.any([signal, limit]);
    await Promise.all(TIERS.map((tier) => progress.delivered(tier, at, both)));
  } catch (error) {
    if (!limit.aborted) throw new IngestError('cancelled', 'the client cancelled the call', { cause: error });
    throw new IngestError('deadline_exceeded', 'the stores do not have everything yet', { cause: error });
  }
  return json({ lsn: at });
}

function batchStatus(body: Buffer, { batches }: ActionContext): Buffer {
  const batch = body.toString();
  if (parseBatchId(batch) === undefined) throw malformed('the body of batch_status must be the id of a batch');
  const status = batches.status(batch as BatchId);
  if (status === undefined) throw new IngestError('not_found', 'no such batch');
  const tiers = status.map(({ tier, delivered }) => [tier, delivered ? 'delivered' : 'pending']);
  return json({ batch, ...Object.fromEntries(tiers) });
}

/** The statement itself is the handle, so that nothing is kept on the server. */
function prepareStatement(body: Buffer, { tier }: ActionContext): Buffer {
  const command = readSqlCommand(body);
  if (command?.name !== 'ActionCreatePreparedStatementRequest')
    throw malformed('the body is no request for a prepared statement');
  const { query, hasTransaction } = readStatementQuery(command.value, command.name);
  if (hasTransaction) throw new IngestError('unimplemented', 'there are no transactions');
  return writePreparedStatement(sqlTicket(query, tier));
}
