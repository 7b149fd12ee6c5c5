/** What a delivery is given, and what it shows of itself. */
import type { DeadLetterParking } from '../core/dead-letter';
import type { Lsn, TableName } from '../core/ids';
import type { Sink } from '../core/sink';
import type { TableSchema } from '../core/table-schema';
import type { DeliveryStateStore, HeldTable, Wal } from '../core/wal';
import type { Logger, Telemetry } from '../telemetry';
import type { BreakerState } from './breaker';

export interface DeliveryOptions {
  readonly wal: Wal;
  readonly sink: Sink;
  readonly states: DeliveryStateStore;
  readonly deadLetters: DeadLetterParking;
  readonly schemaOf: (table: TableName) => TableSchema | undefined;
  /** Tables to create when the sink is there, before the first write. */
  readonly tables: () => readonly TableSchema[];
  readonly rowsMax: number;
  readonly bytesMax: number;
  readonly intervalMs: number;
  /** How long a table fails before it is held for an error that does not say whose fault it is; default 10 s. */
  readonly holdAfterMs?: number;
  /** Longest pause between two attempts on a held table; default 60 s. */
  readonly heldPauseMaxMs?: number;
  /** Tables that may be held; default `LIMITS.heldTablesMax`. */
  readonly heldTablesMax?: number;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  /** Told when the cursor has moved, so that segments can be released. */
  readonly onAdvance: () => void;
}

export interface DeliveryStatus {
  readonly up: boolean;
  readonly nextLsn: Lsn;
  readonly rows: number;
  readonly bytes: number;
  /** Age of the oldest row not delivered, seconds; 0 when there is none. */
  readonly ageSeconds: number;
  readonly lastError: string | undefined;
  readonly breaker: BreakerState;
  readonly held: readonly HeldTable[];
}
