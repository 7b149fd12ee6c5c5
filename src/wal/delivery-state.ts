/**
 * Checkpoint of one sink: `delivery-<tier>.state` in the WAL directory, two lines of text, format version 1 or 2.
 *
 *   thermocline-delivery 1 <crc-32 of the second line, 8 hex digits>
 *   {"walId":"...","tier":"hot","nextLsn":1,"plan":{"fromLsn":1,"toLsn":1,"parts":[...]},"totals":{"<table>":{...}}}
 *
 * `plan` is missing between two plans, `totals` in a file of a server that did not count rows. Version 2 has `held`, the tables that
 * wait beside the cursor, and is written only while there are any: a server that does not know them must not go on from there.
 *
 * Replaced as a whole: temporary file, fdatasync, rename, fsync of the directory (R12), so that a crash leaves the old or the
 * new one. A lost or older file only causes delivery again, which the sinks recognise by identity; a damaged one is an error.
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

const fileName = (tier: Tier): string => `delivery-${tier}.state`;

interface StoredState extends DeliveryState {
  readonly walId: WalId;
}

function encodeState(walId: WalId, tier: Tier, state: DeliveryState): Buffer {
  const { nextLsn, plan, totals, held = [] } = state;
  const isPlain = held.length === 0;
  const body = JSON.stringify({ walId, tier, nextLsn, plan, totals, ...(isPlain ? {} : { held }) });
  const crc = crc32(body).toString(16).padStart(8, '0');
  return Buffer.from(`thermocline-delivery ${isPlain ? PLAIN_VERSION : HELD_VERSION} ${crc}\n${body}\n`);
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
    new WalCorruptError(
      `the checkpoint ${file} is damaged (${why}); restore it, or remove it to deliver everything in the wal again`,
    );
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
  const { totals, held } = value;
  if (held !== undefined && !(Array.isArray(held) && held.every(isHeld))) throw damaged('held tables');
  const rest = { ...(totals === undefined ? {} : { totals }), ...(held === undefined ? {} : { held }) };
  return { walId: value.walId as WalId, nextLsn: value.nextLsn, plan: value.plan, ...rest };
}

async function readState(storage: Storage, directory: string, tier: Tier): Promise<StoredState | undefined> {
  const file = path.join(directory, fileName(tier));
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

/** The checkpoints of a directory, also those that cannot be read. */
export async function readCheckpoints(storage: Storage, directory: string): Promise<CheckpointReport[]> {
  const reports: CheckpointReport[] = [];
  for (const tier of TIERS) {
    const file = fileName(tier);
    try {
      const state = await readState(storage, directory, tier);
      if (state !== undefined) reports.push({ tier, file, state, problem: undefined });
    } catch (error) {
      if (!(error instanceof WalCorruptError || error instanceof WalVersionError)) throw error;
      reports.push({ tier, file, state: undefined, problem: error.message });
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
}

/** Checkpoints of the sinks as files beside the WAL's segments. Use it only while the WAL of the directory is open. */
export class FileDeliveryStateStore implements DeliveryStateStore {
  private readonly options: FileDeliveryStateStoreOptions;
  private readonly saved = new Map<Tier, Lsn>();
  /** Saves of one tier follow each other: they share the temporary file. */
  private readonly queues = new Map<Tier, Promise<void>>();

  constructor(options: FileDeliveryStateStoreOptions) {
    this.options = options;
  }

  /** Undefined when the tier never saved one. Throws WalCorruptError for a damaged checkpoint or one of another WAL. */
  async load(tier: Tier): Promise<DeliveryState | undefined> {
    const { storage, directory, walId } = this.options;
    const stored = await readState(storage, directory, tier);
    if (stored === undefined) return undefined;
    if (stored.walId !== walId) {
      throw new WalCorruptError(
        `the checkpoint ${fileName(tier)} belongs to wal ${stored.walId}, the directory holds wal ${walId}`,
      );
    }
    this.saved.set(tier, stored.nextLsn);
    const { walId: _walId, ...state } = stored;
    return state;
  }

  /**
   * Resolves when the state is on stable storage; the state is taken as it is at the call. `nextLsn` never goes back.
   * A full device throws its own error (`ENOSPC`) and leaves the last state in force.
   */
  save(tier: Tier, state: DeliveryState): Promise<void> {
    const last = this.saved.get(tier);
    if (last !== undefined && state.nextLsn < last) {
      return Promise.reject(new Error(`the checkpoint of ${tier} cannot go back from lsn ${last} to ${state.nextLsn}`));
    }
    this.saved.set(tier, state.nextLsn);
    const bytes = encodeState(this.options.walId, tier, state);
    const turn = (this.queues.get(tier) ?? Promise.resolve()).then(() => this.replace(tier, bytes));
    this.queues.set(
      tier,
      turn.catch(() => undefined),
    );
    return turn;
  }

  private async replace(tier: Tier, bytes: Buffer): Promise<void> {
    const { storage, directory, onFatal } = this.options;
    try {
      await replaceFile(storage, path.join(directory, fileName(tier)), bytes);
    } catch (error) {
      if (error instanceof SyncFailedError) onFatal?.(error);
      throw error;
    }
  }
}
