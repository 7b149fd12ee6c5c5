import type { Refit } from '../core/dead-letter';
import type { Lsn, TableName } from '../core/ids';
import type { WriteIdentity } from '../core/sink';
import type { TableSchema, Tier } from '../core/table-schema';
import type { Wal, WalBatch } from '../core/wal';
import type { Logger } from '../telemetry';
import type { Route } from './replay-rows';

export interface LogDeadLetterStoreOptions {
  /** A log of its own, held open by the caller. */
  readonly log: Wal;
  readonly bytesMax: number;
  /** Is the write behind the sink's durable cursor, so that it is never repeated? */
  readonly settled: (tier: Tier, id: WriteIdentity) => boolean;
  readonly schemaOf: (table: TableName) => TableSchema | undefined;
  /** Tiers of rows that no tier has seen, when nothing else is asked for. */
  readonly route: Route;
  readonly refit: Refit;
  /** Told after letters of the group were added or taken out. */
  readonly onChange?: (group: number) => void;
  /** Told of rows that are to be delivered again. */
  readonly onReplayed: (batches: readonly WalBatch[]) => void;
  /** Entries before this one hold no replayed row that is still to be delivered. */
  readonly replayedBelow: () => Lsn;
  readonly clock: () => number;
  readonly logger: Logger;
  /** Log beyond twice the letters that is left alone; default 64 MiB. */
  readonly garbageBytesMax?: number;
}
