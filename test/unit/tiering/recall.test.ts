/** A checkpoint that is lost, older or damaged, in one or both of its files, at any moment of delivery: every row once all the same. */
import { copyFile, mkdtemp, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { NumberBuilder, timestampBuilder } from '../../../src/columnar/builders';
import { encodeIpc } from '../../../src/columnar/ipc';
import { recordBatch } from '../../../src/columnar/record-batch';
import type { TableName } from '../../../src/core/ids';
import type { Tier } from '../../../src/core/table-schema';
import type { WalBatch } from '../../../src/core/wal';
import { silentLogger, Telemetry } from '../../../src/telemetry';
import { Delivery } from '../../../src/tiering/delivery';
import { FileDeliveryStateStore } from '../../../src/wal/delivery-state';
import { FileStorage } from '../../../src/wal/file-storage';
import { FileWal } from '../../../src/wal/file-wal';
import { MemoryParking } from '../../support/memory-parking';
import { type Fault, MemorySink } from '../../support/memory-sink';
import { thingsSchema } from '../../support/things';

type Kind = readonly ['none' | 'day', Tier];
const KINDS: readonly Kind[] = [
  ['none', 'hot'],
  ['day', 'cold'],
];
const TABLES = ['things', 'others', 'rare'] as TableName[];
const SCHEMAS = TABLES.map((table) => thingsSchema(table));

/** What happens to the files of a checkpoint while the server is down. */
const HARMS = ['nothing', 'one lost', 'one older', 'one damaged', 'both lost', 'both older'] as const;
type Harm = (typeof HARMS)[number];

interface Life {
  readonly harm: Harm;
  /** The table and the rows of each request. */
  readonly requests: readonly (readonly [table: number, rows: number])[];
  /** Writes after which the store hangs, as when the server dies in the middle of one; it may have taken effect. */
  readonly hangsAfter: number;
}

class Server {
  private readonly delivery: Delivery;

  private constructor(
    readonly wal: FileWal,
    sink: MemorySink,
    states: FileDeliveryStateStore,
    parking: MemoryParking,
  ) {
    this.delivery = new Delivery({
      wal,
      sink,
      states,
      deadLetters: parking,
      schemaOf: (table) => SCHEMAS.find((schema) => schema.table === table),
      tables: () => SCHEMAS,
      rowsMax: 12,
      bytesMax: 1024 * 1024,
      intervalMs: 1,
      heldPauseMaxMs: 1,
      telemetry: new Telemetry(),
      logger: silentLogger(),
      onAdvance: () => undefined,
    });
  }

  static async start(directory: string, sink: MemorySink, parking: MemoryParking): Promise<Server> {
    const storage = new FileStorage();
    const onFatal = (error: Error): never => {
      throw error;
    };
    const bounds = { segmentBytes: 64 * 1024, frameBytesMax: 1024 * 1024 };
    const wal = await FileWal.open({ directory, ...bounds, storage, clock: Date.now, onFatal });
    const states = new FileDeliveryStateStore({ directory, storage, walId: wal.walId });
    const server = new Server(wal, sink, states, parking);
    await server.delivery.start();
    return server;
  }

  async append(batch: WalBatch): Promise<void> {
    await this.wal.append([batch]);
    this.delivery.backlog.add([batch]);
  }

  async delivered(): Promise<void> {
    await this.delivery.delivered(this.wal.stats().durableLsn, AbortSignal.timeout(10_000));
  }

  get totals(): { rows: number; pending: number } {
    const rows = Object.values(this.delivery.totals).reduce((sum, each) => sum + each.delivered + each.deadLetters, 0);
    return { rows, pending: this.delivery.backlog.rows };
  }

  status(): object {
    return this.delivery.status();
  }

  async stop(): Promise<void> {
    await this.delivery.stop(1);
    await this.wal.close();
  }
}

/** Rows of two days with ids that count up. */
function batchOf(table: TableName, ids: readonly number[]): WalBatch {
  const time = timestampBuilder();
  const id = NumberBuilder.float64();
  for (const n of ids) {
    time.appendBigInt(BigInt(n % 3 === 0 ? 1 : 0) * 86_400_000_000_000n);
    id.append(n);
  }
  const batch = recordBatch([
    { name: 'time', data: time.finish() },
    { name: 'id', data: id.finish() },
  ]);
  return { table, schemaVersion: 1, tiers: ['hot', 'cold'], rows: ids.length, ipc: [encodeIpc(batch)] };
}

async function harm(directory: string, tier: Tier, kind: Harm): Promise<void> {
  const files = ['state', 'copy'].map((name) => join(directory, `delivery-${tier}.${name}`));
  const [which, what] = kind.split(' ');
  for (const file of which === 'both' ? files : which === 'one' ? files.slice(0, 1) : []) {
    if (what === 'lost') await rm(file, { force: true });
    else if (what === 'damaged') await truncate(file, 30).catch(() => undefined);
    else await copyFile(`${file}.older`, file).catch(() => undefined);
  }
}

/** Keeps the files as they are now for a later return. */
async function keep(directory: string, tier: Tier): Promise<void> {
  for (const name of ['state', 'copy']) {
    const file = join(directory, `delivery-${tier}.${name}`);
    await copyFile(file, `${file}.older`).catch(() => undefined);
  }
}

/** Parts of the schedule that is being played. */
function storeOf([partitioning, tier]: Kind, current: { life: Life; written: number; hung: () => void }): MemorySink {
  const fault = (): Fault | undefined => {
    const { life } = current;
    const at = current.written++;
    if (at < life.hangsAfter) return undefined;
    current.hung();
    return { effect: at % 2 === 0, failure: 'retry' };
  };
  return new MemorySink(tier, partitioning, fault, (id) => id % 11 === 5);
}

const life = fc.record<Life>({
  harm: fc.constantFrom(...HARMS),
  requests: fc.array(fc.tuple(fc.constantFrom(0, 0, 0, 1, 1, 2), fc.integer({ min: 1, max: 9 })), { minLength: 1, maxLength: 8 }),
  hangsAfter: fc.integer({ min: 0, max: 12 }),
});

/** Plays the lives and one more without faults; gives the rows that the store has then, and those that it should have. */
async function play(kind: Kind, lives: readonly Life[]): Promise<{ stored: number[]; expected: number[] }> {
  const directory = await mkdtemp(join(tmpdir(), 'thermocline-recall-'));
  try {
    const [, tier] = kind;
    let release = (): void => undefined;
    const current = { life: lives[0], written: 0, hung: () => release() };
    const sink = storeOf(kind, current);
    const parking = new MemoryParking();
    let next = 0;
    for (const each of lives) {
      current.life = each;
      current.written = 0;
      const hung = new Promise<void>((resolve) => (release = resolve));
      const server = await Server.start(directory, sink, parking);
      for (const [table, rows] of each.requests) {
        await server.append(
          batchOf(
            TABLES[table],
            Array.from({ length: rows }, () => next++),
          ),
        );
      }
      if (each.harm.endsWith('older')) await keep(directory, tier);
      await Promise.race([hung, server.delivered()]);
      await server.stop();
      await harm(directory, tier, each.harm);
    }
    current.life = { ...lives[0], hangsAfter: Number.POSITIVE_INFINITY };
    const server = await Server.start(directory, sink, parking);
    await server.delivered().catch((error: unknown) => {
      throw new Error(`${JSON.stringify(lives)}: ${JSON.stringify(server.status())}`, { cause: error });
    });
    expect(server.totals.pending).toBe(0);
    await server.stop();
    return { stored: sink.ids, expected: Array.from({ length: next }, (_, i) => i).filter((id) => id % 11 !== 5) };
  } finally {
    await rm(directory, { recursive: true });
  }
}

test.each(KINDS)(
  'whatever happens to a checkpoint, the store has every row once (partitioning %s, tier %s)',
  async (...kind) => {
    const schedules = fc.array(life, { minLength: 1, maxLength: 4 });
    const property = fc.asyncProperty(schedules, async (lives) => {
      const { stored, expected } = await play(kind, lives);
      expect(stored).toEqual(expected);
    });
    await fc.assert(property, { numRuns: 12, seed: 42 });
  },
  60_000,
);

test.each(KINDS)(
  'each harm after each number of writes leaves every row once (partitioning %s, tier %s)',
  async (...kind) => {
    const requests = Array.from({ length: 8 }, (_, i): [number, number] => [i % 2, 6]);
    for (const each of HARMS.slice(1)) {
      for (let hangsAfter = 0; hangsAfter < 4; hangsAfter++) {
        const { stored, expected } = await play(kind, [{ harm: each, requests, hangsAfter }]);
        expect(stored).toEqual(expected);
      }
    }
  },
  60_000,
);
