/**
 * Checkpoint of one sink: `delivery-<tier>.state` and `delivery-<tier>.copy` in the WAL directory, each two lines of text, format
 * version 1 or 2.
 *
 *   thermocline-delivery 1 <crc-32 of the second line, 8 hex digits>
 *   {"save":7,"walId":"...","tier":"hot","nextLsn":1,"plan":{"fromLsn":1,"toLsn":1,"parts":[...]},"totals":{"<table>":{...}}}
 *
 * `plan` is missing between two plans, `totals` in a file of a server that did not count rows. Version 2 has `held`, the tables that
 * wait beside the cursor, and is written only while there are any: a server that does not know them must not go on from there.
 *
 * Replaced as a whole: temporary file, fdatasync, rename, fsync of the directory (R12), so that a crash leaves the old or the
 * new one. Nothing that rests on a state is done before it stands in both files, and the higher `save` is in force: when one of them is
 * lost, damaged, older or of another WAL, the other says the same, and the next save makes both whole. A `.state` without `save` is
 * of a server that had no copies, and so the newest. When neither can be read that is an error; when both are gone the store is asked
 * (tiering/recall.ts).
 */
import * as path from 'node:path';
import { crc32 } from 'node:zlib';
import { neededFrom } from '../core/delivery-state';
import type { Lsn, WalId } from '../core/ids';
import type { Tier } from '../core/table-schema';
import type { DeliveryPlan, DeliveryState, DeliveryStateStore, DeliveryTotals, HeldTable, PlanPart } from '../core/wal';
import { isNotFound, SyncFailedError, WalCorruptError, WalVersionError } from './errors';
import { readFully, replaceFile } from './io';
import type { Storage } from './storage';

const PLAIN_VERSION = 1;
const HELD_VERSION = 2;
const TIERS: readonly Tier[] = ['hot', 'cold'];

const fileNames = (tier: Tier): readonly string[] => [`delivery-${tier}.state`, `delivery-${tier}.copy`];

interface StoredState extends DeliveryState {
  readonly walId: WalId;
  /** Counts the saves of the tier; undefined in a file of a server that made no copies. */
  readonly save: number | undefined;
}

/** A state as text, taken at once; what is given makes the bytes of a file of it. */
function encodeState(walId: WalId, tier: Tier, state: DeliveryState): (save: number) => Buffer {
  const { nextLsn, plan, totals, held = [] } = state;
  const isPlain = held.length === 0;
  const text = JSON.stringify({ walId, tier, nextLsn, plan, totals, ...(isPlain ? {} : { held }) });
  return (save) => {
    const body = `{"save":${save},${text.slice(1)}`;
    const crc = crc32(body).toString(16).padStart(8, '0');
    return Buffer.from(`thermocline-delivery ${isPlain ? PLAIN_VERSION : HELD_VERSION} ${crc}\n${body}\n`);
  };
}

const isLsn = (value: unknown): value is Lsn => Number.isSafeInteger(value) && (value as number) >= 1;
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

function isPart(value: unknown): value is PlanPart {
  if (!isObject(value)) return false;
  const { table, partition, rows, done } = value;
  return typeof table === 'string' && typeof partition === 'string' && Number.isSafeInteger(rows) && typeof done === 'boolean';
}

function isPlan(value: unknown): value is DeliveryPlan {
  return isObject(value) && isLsn(value.fromLsn) && isLsn(value.toLsn) && Array.isArray(value.parts) && value.parts.every(isPart);
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

const isTotals = (value: unknown): value is DeliveryTotals =>
  isObject(value) &&
  Object.values(value).every(
    (table) => isObject(table) && isCount(table.delivered) && isCount(table.deadLetters) && isCount(table.diverted ?? 0),
  );

const isRange = (value: unknown): boolean => isObject(value) && isLsn(value.fromLsn) && isLsn(value.toLsn);

function isHeld(value: unknown): value is HeldTable {
  if (!isObject(value)) return false;
  const { table, reason, code, sinceMs, plan, range } = value;
  const isNamed = typeof table === 'string' && typeof reason === 'string' && typeof code === 'string' && isCount(sinceMs);
  return isNamed && (plan === undefined || isPlan(plan)) && (range === undefined || isRange(range));
}

/** Reads the text of a checkpoint. Throws WalCorruptError or WalVersionError, both with the name of the file. */
function decodeState(text: string, tier: Tier, file: string): StoredState {
  const damaged = (why: string): WalCorruptError =>
    new WalCorruptError(`the checkpoint ${file} is damaged (${why}); \`thermocline wal repair\` puts it aside`);
  const match = /^thermocline-delivery (\d+) ([0-9a-f]{8})\n(.*)\n$/.exec(text);
  if (match === null) throw damaged('not a checkpoint');
  const [, version, crc, body] = match;
  if (Number(version) !== PLAIN_VERSION && Number(version) !== HELD_VERSION) throw new WalVersionError(file, Number(version));
  if (crc32(body) !== Number.parseInt(crc, 16)) throw damaged('checksum');
  const value: unknown = JSON.parse(body);
  if (!isObject(value) || value.tier !== tier || typeof value.walId !== 'string' || !isLsn(value.nextLsn))
    throw damaged('content');
  if (value.plan !== undefined && !isPlan(value.plan)) throw damaged('plan');
  if (value.totals !== undefined && !isTotals(value.totals)) throw damaged('totals');
  const { totals, held, save } = value;
  if (save !== undefined && !isCount(save)) throw damaged('number');
  if (held !== undefined && !(Array.isArray(held) && held.every(isHeld))) throw damaged('held tables');
  const rest = { ...(totals === undefined ? {} : { totals }), ...(held === undefined ? {} : { held }) };
  return { walId: value.walId as WalId, save: save as number | undefined, nextLsn: value.nextLsn, plan: value.plan, ...rest };
}

async function readState(storage: Storage, file: string, tier: Tier): Promise<StoredState | undefined> {
  try {
    const handle = await storage.open(file, 'read');
    try {
      const bytes = Buffer.alloc(await handle.size());
      const count = await readFully(handle, bytes, 0);
      return decodeState(bytes.toString('utf8', 0, count), tier, file);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** One of the files of a checkpoint that is there. */
interface Copy {
  readonly file: string;
  readonly state: StoredState | undefined;
  readonly error: WalCorruptError | WalVersionError | undefined;
}

async function readCopies(storage: Storage, directory: string, tier: Tier): Promise<Copy[]> {
  const copies: Copy[] = [];
  for (const file of fileNames(tier)) {
    try {
      const state = await readState(storage, path.join(directory, file), tier);
      if (state !== undefined) copies.push({ file, state, error: undefined });
    } catch (error) {
      if (!(error instanceof WalCorruptError || error instanceof WalVersionError)) throw error;
      copies.push({ file, state: undefined, error });
    }
  }
  return copies;
}

type Readable = Copy & { readonly state: StoredState };

const readable = (copies: readonly Copy[]): Readable[] => copies.filter((copy): copy is Readable => copy.state !== undefined);

const rankOf = ({ state }: Readable): number => state.save ?? Number.POSITIVE_INFINITY;

/** The one in force; undefined when none can be read. */
const newest = (copies: readonly Readable[]): Readable | undefined => [...copies].sort((a, b) => rankOf(b) - rankOf(a))[0];

/** What a checkpoint says about the log: entries below `durableBelow` were durable once, those from `neededFrom` on are needed. */
export interface CheckpointEvidence {
  readonly walId: WalId;
  readonly tier: Tier;
  readonly neededFrom: number;
  readonly durableBelow: number;
}

/** One checkpoint as it lies there. */
export interface CheckpointReport {
  readonly tier: Tier;
  readonly file: string;
  readonly state: (DeliveryState & { readonly walId: WalId }) | undefined;
  /** Why it cannot be read. */
  readonly problem: string | undefined;
}

/** The checkpoints of a directory: of each tier the state in force, or every file of it when none can be read. */
export async function readCheckpoints(storage: Storage, directory: string): Promise<CheckpointReport[]> {
  const reports: CheckpointReport[] = [];
  for (const tier of TIERS) {
    const copies = await readCopies(storage, directory, tier);
    const inForce = newest(readable(copies));
    if (inForce !== undefined) reports.push({ tier, file: inForce.file, state: inForce.state, problem: undefined });
    for (const { file, error } of copies) {
      // A version that is not known is never passed over (R18).
      const isInTheWay = error !== undefined && (inForce === undefined || error instanceof WalVersionError);
      if (isInTheWay) reports.push({ tier, file, state: undefined, problem: error.message });
    }
  }
  return reports;
}

/** What the readable ones vouch for. A damaged one vouches for nothing here; `load` reports it. */
export function evidenceOf(reports: readonly CheckpointReport[]): CheckpointEvidence[] {
  return reports.flatMap(({ tier, state }) => {
    if (state === undefined) return [];
    const durableBelow = Math.max(state.nextLsn, (state.plan?.toLsn ?? 0) + 1);
    return [{ walId: state.walId, tier, neededFrom: neededFrom(state), durableBelow }];
  });
}

export interface FileDeliveryStateStoreOptions {
  readonly directory: string;
  readonly storage: Storage;
  /** Of the opened WAL: a checkpoint of another one is refused. */
  readonly walId: WalId;
  /** Called when a sync fails (R8): the process must stop. */
  readonly onFatal?: (error: Error) => void;
  /** Told of a file that cannot be used, while its copy can. */
  readonly onDamage?: (text: string) => void;
}

/** Checkpoints of the sinks as files beside the WAL's segments. Use it only while the WAL of the directory is open. */
export class FileDeliveryStateStore implements DeliveryStateStore {
  private readonly options: FileDeliveryStateStoreOptions;
  private readonly saved = new Map<Tier, Lsn>();
  /** The number of the last save, by tier. */
  private readonly numbers = new Map<Tier, number>();
  /** Saves of one tier follow each other: they share the temporary files. */
  private readonly queues = new Map<Tier, Promise<void>>();

  constructor(options: FileDeliveryStateStoreOptions) {
    this.options = options;
  }

  /**
   * Undefined when the tier never saved one, or all of it is lost. Throws WalCorruptError when what is there is damaged or of another
   * WAL, WalVersionError for a file of a later version.
   */
  async load(tier: Tier): Promise<DeliveryState | undefined> {
    const { storage, directory, walId, onDamage } = this.options;
    const copies = await readCopies(storage, directory, tier);
    const unknown = copies.find(({ error }) => error instanceof WalVersionError);
    if (unknown !== undefined) throw unknown.error;
    const inForce = newest(readable(copies).filter(({ state }) => state.walId === walId));
    const problems = copies.flatMap(({ file, state, error }) => {
      if (state === undefined) return [error!];
      const text = `the checkpoint ${file} belongs to wal ${state.walId}, the directory holds wal ${walId}`;
      return state.walId === walId ? [] : [new WalCorruptError(text)];
    });
    this.numbers.set(tier, inForce?.state.save ?? 0);
    if (inForce === undefined) {
      if (problems.length > 0) throw problems[0];
      return undefined;
    }
    for (const { message } of problems) onDamage?.(`${message}; ${inForce.file} is used`);
    const { walId: _walId, save: _save, ...state } = inForce.state;
    this.saved.set(tier, state.nextLsn);
    return state;
  }

  /**
   * Resolves when the state is on stable storage; the state is taken as it is at the call. `nextLsn` never goes back.
   * A full device throws its own error (`ENOSPC`) and leaves the last state or this one in force.
   */
  save(tier: Tier, state: DeliveryState): Promise<void> {
    const last = this.saved.get(tier);
    if (last !== undefined && state.nextLsn < last) {
      return Promise.reject(new Error(`the checkpoint of ${tier} cannot go back from lsn ${last} to ${state.nextLsn}`));
    }
    this.saved.set(tier, state.nextLsn);
    const encode = encodeState(this.options.walId, tier, state);
    const turn = (this.queues.get(tier) ?? Promise.resolve()).then(() => this.replace(tier, encode));
    this.queues.set(
      tier,
      turn.catch(() => undefined),
    );
    return turn;
  }

  private async replace(tier: Tier, encode: (save: number) => Buffer): Promise<void> {
    const { storage, directory, onFatal } = this.options;
    const bytes = encode(await this.nextNumber(tier));
    const files = fileNames(tier).map((file) => replaceFile(storage, path.join(directory, file), bytes));
    const failures: unknown[] = [];
    for (const each of await Promise.allSettled(files)) if (each.status === 'rejected') failures.push(each.reason);
    const fatal = failures.find((error) => error instanceof SyncFailedError);
    if (fatal !== undefined) onFatal?.(fatal);
    if (failures.length > 0) throw fatal ?? failures[0];
  }

  private async nextNumber(tier: Tier): Promise<number> {
    const { storage, directory } = this.options;
    const known = this.numbers.get(tier);
    const last = known ?? newest(readable(await readCopies(storage, directory, tier)))?.state.save ?? 0;
    this.numbers.set(tier, last + 1);
    return last + 1;
  }
}
