/** How one insert is named in ClickHouse: by two columns of every row, and by the token and query id of each attempt. */
import type { WalId } from '../../core/ids';
import type { WriteIdentity } from '../../core/sink';

/** Values of the batch id columns (rule C1). With table and partition they are unique: each entry is in exactly one plan. */
export interface BatchKey {
  readonly hi: bigint;
  readonly lo: bigint;
}

export const batchKey = ({ walId, lsn }: WriteIdentity): BatchKey => ({ hi: hiOf(walId), lo: BigInt(lsn) });

/** What the batch ids of one log have in common. */
export const hiOf = (walId: WalId): bigint => BigInt(`0x${walId.slice(0, 16)}`);

/** What the tokens of all attempts of one insert begin with. */
export const tokenPrefix = ({ walId, lsn, table, partition }: WriteIdentity): string => `${walId}/${lsn}/${table}/${partition}/`;

/** `insert_deduplication_token` and `query_id` of an attempt (C3). A new attempt is a new token: only after a poisoned one (C5). */
export const attemptToken = (id: WriteIdentity, attempt: number): string => `${tokenPrefix(id)}${attempt}`;
