/** Clients that write rows without end: each request is repeated under its key until it is acknowledged or given up. */
import type { Gateway } from './gateway';
import { RowIds } from './row-ids';
import { NotAcknowledged, type SoakTable } from './tables';

/** Some clients break their connection in the middle of a request (HTTP), after at most so long. */
const BREAK_OFF = { part: 0.02, msMax: 20 };
/** Some requests are given up, as by clients that go away: their rows may be there, once. */
const GIVE_UP = 0.1;
const REQUEST_MS_MAX = 20_000;
const PAUSE_MS = { refused: 200, broken: 50 };

export interface LoadCounts {
  requests: number;
  /** Attempts that were not acknowledged, by protocol and reason. */
  failures: Map<string, number>;
  /** Refusals with a time to come back. */
  hints: number;
}

export class Load {
  readonly ids: ReadonlyMap<SoakTable, RowIds>;
  readonly counts: LoadCounts = { requests: 0, failures: new Map(), hints: 0 };
  /** Called after each acknowledgement. */
  onAck: () => void = () => undefined;
  private running = true;
  private readonly loops: Promise<void>[] = [];

  /** `rowsPerSecond`: of each table. */
  constructor(
    private readonly gateway: Gateway,
    tables: readonly SoakTable[],
    private readonly options: { readonly random: () => number; readonly rowsPerSecond: number; readonly clients: number },
  ) {
    this.ids = new Map(tables.map((table) => [table, new RowIds(table.poisonEvery)]));
  }

  start(): void {
    for (const [table, ids] of this.ids) {
      for (let client = 0; client < this.options.clients; client++) this.loops.push(this.loop(table, ids));
    }
  }

  /** Lets open requests end. */
  async stop(): Promise<void> {
    this.running = false;
    await Promise.all(this.loops);
  }

  private async loop(table: SoakTable, ids: RowIds): Promise<void> {
    const { random, rowsPerSecond, clients } = this.options;
    while (this.running) {
      const startedMs = performance.now();
      // Mostly small requests, some large ones.
      const rows = 1 + Math.floor(random() ** 3 * 400);
      const first = ids.take(rows);
      const all = Array.from({ length: rows }, (_, i) => first + i);
      if (await this.deliver(table, ids, all)) {
        ids.acknowledge(first, rows);
        this.onAck();
      }
      const pauseMs = (rows / (rowsPerSecond / clients)) * 1000 - (performance.now() - startedMs);
      if (pauseMs > 0) await pause(pauseMs);
    }
  }

  /** Whether the rows were acknowledged. */
  private async deliver(table: SoakTable, ids: RowIds, rows: readonly number[]): Promise<boolean> {
    this.counts.requests++;
    const key = `${table.table}-${rows[0]}`;
    for (;;) {
      const clients = await this.gateway.reach();
      if (clients === undefined) return false;
      try {
        await table.send(clients, { rows, key, signal: this.patience() }, (id) => ids.isPoison(id));
        return true;
      } catch (error) {
        const hinted = error instanceof NotAcknowledged && error.hinted;
        if (hinted) this.counts.hints++;
        this.note(`${table.protocol} ${reasonOf(error)}`);
        if (this.options.random() < GIVE_UP) return false;
        await pause(hinted ? PAUSE_MS.refused : PAUSE_MS.broken);
      }
    }
  }

  private patience(): AbortSignal {
    const { random } = this.options;
    return AbortSignal.timeout(random() < BREAK_OFF.part ? Math.ceil(random() * BREAK_OFF.msMax) : REQUEST_MS_MAX);
  }

  private note(text: string): void {
    const { failures } = this.counts;
    failures.set(text, (failures.get(text) ?? 0) + 1);
  }
}

/** Short, without what differs from case to case. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as Error & { cause?: { code?: string; message?: string } };
  const text = cause?.code ?? cause?.message ?? message;
  return text.replaceAll(/\d{4,}/g, '#').slice(0, 80);
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
