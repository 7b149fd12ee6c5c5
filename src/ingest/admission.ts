/**
 * The budget of bytes between socket and WAL. It never waits: a full budget is told to the client at once, in the words of its
 * protocol, so that nothing piles up in memory.
 *
 * Fair between clients: while less than half of the budget is in use anybody gets room. Above, a client that has requests under way
 * gets more only up to its share, the budget divided by the clients with requests under way and one more. So a single client can hold
 * about half of it however many connections it has, there is always room for who comes next, and who has nothing under way gets
 * in as long as there is room at all. A request that is the only one of its client is never refused for the share. The map of
 * clients has no more entries than there are requests under way.
 */
import { IngestError } from '../core/errors';
import type { Admission } from '../core/ingest';

/** Why a request was not let in. */
export type RefusalReason = 'stopping' | 'in_flight' | 'share' | 'wal' | 'disk';

export interface AdmissionBudgetOptions {
  readonly bytesMax: number;
  readonly onChange: (usedBytes: number) => void;
  readonly onRefused: (reason: RefusalReason) => void;
}

interface Client {
  bytes: number;
  requests: number;
}

const RETRY_AFTER_MS = 1_000;
/** Part of the budget that is given away without a look at shares. */
const FREE_PART = 0.5;

export class AdmissionBudget {
  private usedBytes = 0;
  private refusal: string | undefined;
  private readonly clients = new Map<string, Client>();

  constructor(private readonly options: AdmissionBudgetOptions) {}

  /** From now on every request is refused with this reason (draining, WAL broken); `undefined` opens again. */
  refuse(reason: string | undefined): void {
    this.refusal = reason;
  }

  /** Why every request is refused, if they are. */
  get refused(): string | undefined {
    return this.refusal;
  }

  admit(bytes: number, name: string): Admission {
    if (this.refusal !== undefined) throw this.refusalFor('stopping', this.refusal);
    const client = this.clients.get(name) ?? { bytes: 0, requests: 0 };
    this.check(bytes, client, client.requests === 0);
    this.clients.set(name, client);
    client.requests++;
    this.change(client, bytes);
    let heldBytes = bytes;
    let open = true;
    return {
      grow: (more) => {
        if (!open) throw new Error('the admission was released');
        this.check(more, client, client.requests === 1);
        heldBytes += more;
        this.change(client, more);
      },
      release: () => {
        if (!open) return;
        open = false;
        this.change(client, -heldBytes);
        if (--client.requests === 0) this.clients.delete(name);
      },
    };
  }

  private check(bytes: number, client: Client, isAlone: boolean): void {
    const { bytesMax } = this.options;
    const afterBytes = this.usedBytes + bytes;
    if (afterBytes > bytesMax) throw this.refusalFor('in_flight', 'too many bytes in flight');
    if (isAlone || afterBytes <= bytesMax * FREE_PART) return;
    if (client.bytes + bytes > bytesMax / (this.clients.size + 1)) {
      throw this.refusalFor('share', 'too many bytes of this client in flight');
    }
  }

  private refusalFor(reason: RefusalReason, message: string): IngestError {
    this.options.onRefused(reason);
    return new IngestError('unavailable', message, { retryAfterMs: RETRY_AFTER_MS });
  }

  private change(client: Client, bytes: number): void {
    client.bytes += bytes;
    this.usedBytes += bytes;
    this.options.onChange(this.usedBytes);
  }
}
