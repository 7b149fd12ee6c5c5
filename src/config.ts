/**
 * Configuration: one YAML file (`--config` or THERMOCLINE_CONFIG), each key also an environment variable, which wins.
 * `delivery.rows_max` is THERMOCLINE_DELIVERY_ROWS_MAX. Unknown keys, in the file or as THERMOCLINE_* variables, are errors.
 */
import { readFileSync } from 'node:fs';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { SIGNALS } from './core/builtin-tables';
import { durationMs } from './core/duration';
import { LABEL_POLICIES } from './core/label-policy';
import { LIMITS } from './core/limits';
import { PARTITIONING } from './core/partitioning';
import { SEVERITY_NUMBERS, type SeverityName } from './core/routing';
import type { Tier } from './core/table-schema';
import { DAY_MS } from './core/utc-day';

const MIB = 1024 * 1024;

const port = (fallback: number) => z.coerce.number().int().min(0).max(65_535).default(fallback);
const count = (fallback: number, max = Number.MAX_SAFE_INTEGER) => z.coerce.number().int().min(1).max(max).default(fallback);
const flag = (fallback: boolean) =>
  z.union([z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')]).default(fallback);
const url = (schemes: readonly string[]) =>
  z
    .string()
    .refine(
      (text) => URL.canParse(text) && schemes.includes(new URL(text).protocol),
      `must be a URL that starts with ${schemes.join(' or ')}`,
    );

/** One tier, or both as `hot,cold`. */
const TIERS = z
  .union([z.string().transform((text) => text.split(',').map((part) => part.trim())), z.array(z.string())])
  .pipe(z.array(z.enum(['hot', 'cold'])).min(1))
  .transform((list) => [...new Set(list)]);

const tiers = (fallback: Tier) => TIERS.default([fallback]);

/** One text or several. */
const texts = z.union([z.string().transform((text) => [text]), z.array(z.string()).min(1)]);

const ROUTING_RULE = z.strictObject({
  signal: z.enum(SIGNALS).optional(),
  tables: texts.optional(),
  severity: z.enum(Object.keys(SEVERITY_NUMBERS) as SeverityName[]).optional(),
  labels: z.record(z.string(), texts).optional(),
  tiers: z.union([z.literal('dead_letters').transform((): Tier[] => []), TIERS]),
});

/** A list or a mapping in the file; YAML or JSON text in the environment. */
const structured = <T extends z.ZodType>(type: T) =>
  z.preprocess((value, context) => {
    if (typeof value !== 'string') return value;
    try {
      return parseYaml(value) as unknown;
    } catch (error) {
      context.addIssue({ code: 'custom', message: `is not YAML: ${(error as Error).message}` });
      return z.NEVER;
    }
  }, type);

const rules = structured(z.array(ROUTING_RULE).max(LIMITS.routingRulesMax)).default([]);

const isPeriod = (text: string): boolean => {
  const ms = durationMs(text) ?? 0;
  return ms >= 1_000 && DAY_MS % ms === 0;
};

/** A length of time. */
const RETENTION = z.string().refine((text) => durationMs(text) !== undefined, 'must be a time such as 2d or 36h');
/** A length of time that divides a day. */
const PERIOD = z.string().refine(isPeriod, 'must be a time that divides a day, such as 1m or 1h');

/** Names, also as `a,b`. */
const names = z
  .union([z.string().transform((text) => text.split(',').map((part) => part.trim())), z.array(z.string())])
  .pipe(z.array(z.string().min(1)))
  .default([]);

const SCHEMA = z.strictObject({
  host: z.string().min(1).default('127.0.0.1').describe('Address to listen on'),
  grpc_port: port(4317).describe('OTLP/gRPC, health and reflection; 0 picks a free port'),
  http_port: port(4318).describe('OTLP/HTTP and REST; 0 picks a free port'),
  admin_port: port(8080).describe('SQL API, metrics, health; 0 picks a free port'),
  data_dir: z.string().min(1).default('./data').describe('WAL, checkpoints and embedded databases'),
  postgres_url: url(['postgres:', 'postgresql:']).optional().describe('Hot tier; unset starts the embedded PostgreSQL'),
  clickhouse_url: url(['http:', 'https:']).optional().describe('Cold tier (HTTP interface); unset starts the embedded engine'),
  sinks: z.enum(['stores', 'none']).default('stores').describe('`none` accepts into the WAL and delivers nowhere (benchmarks)'),
  log_level: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info').describe('Least level of log lines'),
  request_bytes_max: count(LIMITS.requestBytesMax, 512 * MIB).describe('Largest request body, before and after decompression'),
  in_flight_bytes_max: count(LIMITS.inFlightBytesMax).describe(
    'Bytes of requests between socket and WAL; above, clients are told to retry',
  ),
  shutdown_grace_ms: count(25_000).describe('Longest wait for open requests and deliveries after SIGTERM'),
  wal: z
    .strictObject({
      segment_bytes: count(LIMITS.walSegmentBytes, 1024 * MIB).describe('Size of one WAL segment file'),
      bytes_max: count(10 * 1024 * MIB).describe(
        'Bytes of the WAL that may wait for the stores; from 75 % of it on clients are slowed, at it they are told to retry',
      ),
      disk_reserve_bytes: count(256 * MIB).describe(
        'Free bytes of the disk that are left for checkpoints, keys and dead letters; nearer than the next segment clients are told to retry',
      ),
      scrub_bytes_per_second: count(4 * MIB).describe('Rate at which sealed WAL segments are read again to find damage early'),
      allow_any_filesystem: flag(false).describe('`true` allows the WAL on NFS, SMB, 9p and FUSE, whose fsync may not be one'),
    })
    .prefault({}),
  delivery: z
    .strictObject({
      rows_max: count(100_000, LIMITS.rowsPerWriteMax).describe('Rows gathered into one insert'),
      bytes_max: count(32 * MIB, 512 * MIB).describe('WAL bytes gathered into one delivery plan'),
      interval_ms: count(500, 60_000).describe('Longest wait for more rows before an insert'),
    })
    .prefault({}),
  idempotency: z
    .strictObject({
      window_ms: count(86_400_000).describe('How long an idempotency key is remembered'),
      keys_max: count(1_000_000).describe('Idempotency keys remembered at most; the oldest are forgotten first'),
    })
    .prefault({}),
  dead_letters: z
    .strictObject({
      bytes_max: count(1024 * MIB).describe(
        'Bytes of dead letters; when they are full, the sink waits for room, and clients whose rows are to be parked retry',
      ),
      tables: names.describe(
        'Tables whose refused rows become dead letters instead of being rejected to the client; `*` for all',
      ),
    })
    .prefault({}),
  labels: z
    .strictObject({
      policy: z
        .enum(LABEL_POLICIES)
        .default('side_column')
        .describe('Abnormal labels: moved into the label `_overflow`, cut (`truncate`), or their rows parked (`dead_letter`)'),
      count_max: count(1_024).describe('Labels of one row; more are abnormal'),
      key_bytes_max: count(1_024).describe('Bytes of a label key; a longer one is abnormal, and one that is empty or holds NUL'),
      value_bytes_max: count(MIB).describe('Bytes of a label value; a longer one is abnormal'),
    })
    .prefault({}),
  routing: z
    .strictObject({
      metrics: tiers('hot').describe('Tiers of metrics_events, metrics_histograms, metrics_summaries'),
      traces: tiers('hot').describe('Tiers of traces_spans'),
      logs: tiers('cold').describe('Tiers of logs_events'),
      rules: rules.describe('Rules by signal, tables, severity and labels that come before these; see docs/routing.md'),
    })
    .prefault({}),
  postgres: z
    .strictObject({
      partitioning: z
        .enum(PARTITIONING)
        .default('auto')
        .describe('`auto`: TimescaleDB where it is installed, otherwise native partitions; `native`; `partman`: by pg_partman'),
      keep_days: structured(z.record(z.string(), count(1, 36_500)))
        .default({})
        .describe('Days after which PostgreSQL drops partitions, by table, without a move; for ever without'),
    })
    .prefault({}),
  timescale: z
    .strictObject({
      chunk_hours: count(24, 8_760).describe('Range of time of one chunk of a hypertable'),
      compress_after_days: count(1, 36_500)
        .optional()
        .describe('Age at which TimescaleDB compresses chunks, where its license has that; never without'),
    })
    .prefault({}),
  clickhouse: z
    .strictObject({
      cluster: z.string().min(1).optional().describe('Cluster on which tables and views are made (ON CLUSTER)'),
      replicated: flag(false).describe('Tables are ReplicatedMergeTree'),
      replica_path: z
        .string()
        .min(1)
        .default('/clickhouse/tables/{shard}/{database}/{table}')
        .describe('Path of a replicated table in Keeper; macros as ClickHouse knows them'),
      replica_name: z.string().min(1).default('{replica}').describe('Name of the replica in Keeper'),
      distributed: flag(false).describe('Rows lie in local tables on the shards of the cluster, read through Distributed tables'),
      shard_urls: structured(z.array(url(['http:', 'https:'])))
        .default([])
        .describe('One URL for each shard, which take the inserts; without, all go to clickhouse_url'),
      storage_policy: z.string().min(1).optional().describe('Storage policy of new tables'),
      keep_days: structured(z.record(z.string(), count(1, 36_500)))
        .default({})
        .describe('Days that ClickHouse keeps rows after their time, by table (TTL); for ever without'),
    })
    .prefault({}),
  rollups: z
    .strictObject({
      tables: structured(z.record(z.string(), z.array(PERIOD)))
        .default({ metrics_events: ['1m', '1h'], traces_spans: ['1m', '1h'], logs_events: ['1m', '1h'] })
        .describe('Periods by table: views such as metrics_events_1m in ClickHouse; see docs/rollups.md'),
      keep_days: structured(z.record(PERIOD, count(1, 36_500)))
        .default({})
        .describe('Days that sums are kept, by period; for ever without'),
      close_after_ms: count(3_600_000).describe('A UTC day is summed up this long after its end; late rows build it anew'),
      interval_ms: count(60_000, DAY_MS).describe('Time between looks for days to sum up'),
    })
    .prefault({}),
  demotion: z
    .strictObject({
      hot_retention: RETENTION.optional().describe('Partitions older than this move to ClickHouse, such as 2d; never without'),
      tables: structured(z.record(z.string(), RETENTION))
        .default({})
        .describe('The same by table, before `hot_retention`: `{metrics_events: 2d}`'),
      rows_per_second: count(100_000).describe('Bound on the rows that a demotion moves a second'),
      interval_ms: count(10_000, DAY_MS).describe('Time between looks for partitions to move'),
    })
    .prefault({}),
  query: z
    .strictObject({
      rows_max: count(10_000, 1_000_000).describe('Rows of one answer of /api/sql'),
      timeout_ms: count(30_000, 600_000).describe('Time of one query of /api/sql'),
      hot_rows_max: count(5_000_000, 1_000_000_000).describe('Rows of PostgreSQL that one query with target `all` may take'),
    })
    .prefault({}),
});

export type Config = z.output<typeof SCHEMA>;

/** What an operator must put right; the text names the key. */
export class ConfigError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'ConfigError';
  }
}

interface KeyInfo {
  /** Path in the file. */
  readonly path: readonly string[];
  readonly environment: string;
  readonly description: string;
  readonly fallback: unknown;
}

const PREFIX = 'THERMOCLINE_';
/**
 * Variables with the prefix that are not settings: the path of the file, and what Kubernetes gives to every container of a
 * namespace with a Service named thermocline-something.
 */
const NOT_SETTINGS = /^THERMOCLINE_(CONFIG|(.+_)?(SERVICE_(HOST|PORT.*)|PORT_\d+_(TCP|UDP).*)|PORT)$/;

/** Every setting, for the documentation and for the environment. */
export function configKeys(): readonly KeyInfo[] {
  const defaults = SCHEMA.parse({}) as Record<string, unknown>;
  const walk = (shape: Record<string, z.ZodType>, values: Record<string, unknown>, path: string[]): KeyInfo[] =>
    Object.entries(shape).flatMap(([key, type]) => {
      const here = [...path, key];
      const group = type instanceof z.ZodPrefault ? (type.unwrap() as z.ZodObject) : undefined;
      if (group !== undefined) return walk(group.shape, values[key] as Record<string, unknown>, here);
      const environment = PREFIX + here.join('_').toUpperCase();
      return [{ path: here, environment, description: type.description ?? '', fallback: values[key] }];
    });
  return walk(SCHEMA.shape, defaults, []);
}

function readFile(path: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = parseYaml(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new ConfigError(`cannot read ${path}: ${(error as Error).message}`, error);
  }
  if (parsed === null || parsed === undefined) return {};
  if (typeof parsed !== 'object' || Array.isArray(parsed)) throw new ConfigError(`${path} must hold a mapping of settings`);
  return parsed as Record<string, unknown>;
}

function withEnvironment(file: Record<string, unknown>, environment: NodeJS.ProcessEnv): Record<string, unknown> {
  const keys = new Map(configKeys().map((key) => [key.environment, key.path]));
  const merged = structuredClone(file);
  for (const [name, value] of Object.entries(environment)) {
    if (!name.startsWith(PREFIX) || NOT_SETTINGS.test(name) || value === undefined || value === '') continue;
    const path = keys.get(name);
    if (path === undefined) throw new ConfigError(`${name} is not a setting`);
    let target = merged;
    for (const part of path.slice(0, -1)) target = (target[part] ??= {}) as Record<string, unknown>;
    target[path.at(-1)!] = value;
  }
  return merged;
}

/** The effective configuration. `path` is the value of `--config`. Throws ConfigError. */
export function loadConfig(path?: string, environment: NodeJS.ProcessEnv = process.env): Config {
  const file = path ?? environment['THERMOCLINE_CONFIG'];
  const input = withEnvironment(file ? readFile(file) : {}, environment);
  const result = SCHEMA.safeParse(input);
  if (!result.success) {
    const [issue] = result.error.issues;
    const where = issue?.code === 'unrecognized_keys' ? [...issue.path, ...issue.keys].join('.') : issue?.path.join('.');
    throw new ConfigError(`configuration: ${where}: ${issue?.message}`);
  }
  const config = result.data;
  if (config.in_flight_bytes_max < config.request_bytes_max) {
    throw new ConfigError('configuration: in_flight_bytes_max must not be below request_bytes_max');
  }
  checkCluster(config);
  checkRetention(config);
  return config;
}

/** Age at which partitions of the table move to ClickHouse, milliseconds; undefined: never. */
export function hotRetentionMs({ hot_retention: all, tables }: Config['demotion'], table: string): number | undefined {
  const text = Object.hasOwn(tables, table) ? tables[table] : all;
  return text === undefined ? undefined : durationMs(text);
}

/** Rows that are to be moved must not end before they are. */
function checkRetention({ demotion, postgres }: Config): void {
  for (const [table, days] of Object.entries(postgres.keep_days)) {
    const movedMs = hotRetentionMs(demotion, table);
    if (movedMs === undefined || days * DAY_MS > movedMs) continue;
    const text = `rows of ${table} move to clickhouse at that age or later (demotion.hot_retention): more days are needed`;
    throw new ConfigError(`configuration: postgres.keep_days: ${text}`);
  }
}

function checkCluster({ sinks, clickhouse_url: clickhouseUrl, clickhouse }: Config): void {
  const { cluster, replicated, distributed, shard_urls: shardUrls } = clickhouse;
  const refuse = (key: string, reason: string): void => {
    throw new ConfigError(`configuration: clickhouse.${key}: ${reason}`);
  };
  const isCluster = cluster !== undefined || replicated || distributed;
  if (isCluster && clickhouseUrl === undefined && sinks !== 'none')
    refuse('cluster', 'the embedded engine is no cluster, clickhouse_url is needed');
  if (distributed && cluster === undefined) refuse('distributed', 'needs clickhouse.cluster');
  if (shardUrls.length > 0 && !distributed) refuse('shard_urls', 'needs clickhouse.distributed');
}

/** The environment for a process we start: ours without our settings, which it gets in other ways. */
export function childEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith(PREFIX)));
}

/** The configuration with passwords masked, for `config print` and the start log. */
export function maskConfig(config: Config): Config {
  return {
    ...config,
    ...(config.postgres_url ? { postgres_url: maskUrl(config.postgres_url) } : {}),
    ...(config.clickhouse_url ? { clickhouse_url: maskUrl(config.clickhouse_url) } : {}),
    clickhouse: { ...config.clickhouse, shard_urls: config.clickhouse.shard_urls.map(maskUrl) },
  };
}

function maskUrl(text: string): string {
  const parsed = new URL(text);
  if (parsed.password !== '') parsed.password = '***';
  for (const key of parsed.searchParams.keys()) if (/pass|key|secret|token/i.test(key)) parsed.searchParams.set(key, '***');
  return parsed.toString();
}
