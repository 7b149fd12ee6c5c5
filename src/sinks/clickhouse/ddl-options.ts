/** How tables are made in ClickHouse. */
export interface DdlOptions {
  readonly database: string;
  /** Name of a cluster: adds ON CLUSTER to every statement. */
  readonly cluster?: string;
  /** ReplicatedMergeTree with this Keeper path and replica name (macros such as `{shard}` are kept as they are). */
  readonly replicated?: { readonly path: string; readonly replica: string };
  /** Rows are spread over the shards of the cluster: see cluster.ts. */
  readonly distributed?: boolean;
  /** Where the server puts the parts of a new table. */
  readonly storagePolicy?: string;
  /** Days that rows are kept after their time, by table; for ever without. */
  readonly keepDays?: Readonly<Record<string, number>>;
}
