/** What the server at hand can do: settings differ by version, and an unknown setting is an error in ClickHouse. */
import type { ClickHouseSettings } from '@clickhouse/client';

/** A version as one number, e.g. 2607 for 26.7. */
export type ServerVersion = number;

/** The oldest version whose Arrow input and deduplication these rules were written for. */
const OLDEST: ServerVersion = 2404;

/** Throws RangeError for text that is no version, or one that is too old. */
export function parseVersion(text: string): ServerVersion {
  const match = /^(\d+)\.(\d+)/.exec(text);
  if (match === null) throw new RangeError(`clickhouse says its version is ${JSON.stringify(text)}`);
  const version = Number(match[1]) * 100 + Number(match[2]);
  if (version < OLDEST) throw new RangeError(`clickhouse ${text} is too old, 24.4 or later is needed`);
  return version;
}

/** Settings of one INSERT, pinned because the defaults differ between versions and profiles (C3). */
export function insertSettings(version: ServerVersion, token: string): ClickHouseSettings {
  return {
    async_insert: 0,
    insert_deduplicate: 1,
    ...(version >= 2602 ? { deduplicate_insert: 'enable' } : {}),
    deduplicate_blocks_in_dependent_materialized_views: 1,
    insert_deduplication_token: token,
    // Null in a column that is not Nullable is the default of its type.
    input_format_null_as_default: 1,
    // A view that fails must fail the insert: a silent gap would never be found.
    materialized_views_ignore_errors: 0,
  };
}
