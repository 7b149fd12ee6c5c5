/** One step of a demotion. Every step can be repeated from its beginning, whatever became of an earlier attempt. */
import { Digest, digestDifference } from '../../columnar/digest';
import { storeForm } from '../../core/column-name';
import { type ColdDemotions, copiedSchema, type Demotion, DemotionRefusedError, type HotDemotions } from '../../core/demotion';
import type { TableSchema } from '../../core/table-schema';
import type { Step } from './machine';

export interface StepContext {
  readonly hot: HotDemotions;
  readonly cold: ColdDemotions;
  readonly schema: TableSchema;
  /** Aborted when the server stops or the lock is lost: the step ends with an error soon. */
  readonly signal: AbortSignal;
  /** Told of rows that a step has moved or compared; slows the step down by resolving late. */
  readonly onRows: (step: Step, rows: number) => Promise<void>;
}

/** An earlier attempt of the step may have taken effect: asked for by `copy` only. */
type Attempt = (demotion: Demotion, context: StepContext, mayHaveRun: boolean) => Promise<Demotion | undefined>;

/** Gives the demotion as it is after the step; undefined when locks were not to be had and the step is to be tried again. */
export const STEPS: Readonly<Record<Exclude<Step, 'none'>, Attempt>> = {
  close: (demotion, { hot, schema }) => hot.close(demotion, schema),
  copy: copyChunk,
  count: checkCount,
  verify,
  flip: (demotion, { hot }) => hot.flip(demotion),
  erase: async (demotion, { hot, cold, schema }) => {
    await cold.erase(demotion, schema);
    return hot.update(demotion, { state: demotion.state === 'returning' ? 'restored' : 'aborted' });
  },
  bring_back: bringBack,
};

async function copyChunk(demotion: Demotion, context: StepContext, mayHaveRun: boolean): Promise<Demotion> {
  const { hot, cold, schema, signal, onRows } = context;
  const digest = new Digest(copiedSchema(schema, demotion), demotion.digest);
  const { nextChunk: chunk } = demotion;
  let part = 0;
  for await (const batch of hot.read(demotion, chunk, schema)) {
    signal.throwIfAborted();
    const inserted = cold.insert(demotion, schema, { chunk, part: part++ }, batch, mayHaveRun);
    // While ClickHouse works on it.
    digest.add(batch);
    await inserted;
    await onRows('copy', batch.numRows);
  }
  signal.throwIfAborted();
  return hot.update(demotion, { nextChunk: chunk + 1, digest: digest.sums });
}

/** Another way of reading says how many rows there are. */
async function checkCount(demotion: Demotion, { hot, schema }: StepContext): Promise<Demotion> {
  const digest = demotion.digest ?? new Digest(copiedSchema(schema, demotion)).sums;
  const counted = await hot.count(demotion);
  if (counted !== digest.count) {
    throw new DemotionRefusedError(`${demotion.partition} has ${counted} rows, ${digest.count} were read from it`);
  }
  return hot.update(demotion, { state: 'verifying', digest });
}

async function verify(demotion: Demotion, context: StepContext): Promise<Demotion> {
  const { hot, cold, schema, signal, onRows } = context;
  const copied = copiedSchema(schema, demotion);
  const digest = new Digest(copied);
  for (const slice of await cold.slices(demotion, copied)) {
    for await (const batch of cold.read(demotion, copied, slice)) {
      signal.throwIfAborted();
      digest.add(batch);
      await onRows('verify', batch.numRows);
    }
  }
  const expected = demotion.digest ?? new Digest(copied).sums;
  const difference = digestDifference(expected, digest.sums);
  if (difference !== undefined) throw new DemotionRefusedError(`the copy of ${demotion.partition} differs: ${difference}`);
  signal.throwIfAborted();
  return hot.update(demotion, { state: 'flipping' });
}

async function bringBack(before: Demotion, context: StepContext): Promise<Demotion | undefined> {
  const { hot, cold, schema, signal, onRows } = context;
  const stored = storeForm(schema);
  let demotion = before;
  for (const slice of await cold.slices(demotion, stored, demotion.cursorNs)) {
    signal.throwIfAborted();
    const upTo = { cursorNs: slice.toNs, rows: slice.rows };
    demotion = await hot.bringBack(demotion, schema, cold.read(demotion, stored, slice), upTo);
    await onRows('bring_back', slice.rows);
  }
  if (demotion.rowsBack > 0) await checkBack(demotion, context);
  signal.throwIfAborted();
  return hot.flipBack(demotion, schema);
}

/** Compares what is back with what went away, in the columns that are of the same type as then. */
async function checkBack(demotion: Demotion, { hot, schema, signal }: StepContext): Promise<void> {
  const stored = storeForm(schema);
  const types = new Map(stored.columns.map(({ name, type }) => [name, type]));
  const columns = copiedSchema(schema, demotion).columns.filter(({ name, type }) => types.get(name) === type);
  const digest = new Digest({ ...stored, columns });
  for await (const batch of hot.readBack(demotion, schema)) {
    signal.throwIfAborted();
    digest.add(batch);
  }
  const difference = demotion.digest === undefined ? 'it has no digest' : digestDifference(demotion.digest, digest.sums);
  if (difference !== undefined) throw new DemotionRefusedError(`what came back of ${demotion.partition} differs: ${difference}`);
}
