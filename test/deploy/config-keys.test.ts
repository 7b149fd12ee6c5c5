/** The chart, compose.yaml and the images set no key that the server does not have, and the chart offers every key it has. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parse } from 'yaml';
import { type Config, configKeys, loadConfig } from '../../src/config';
import { CHART, type Manifest, render } from './support/helm';

const ROOT = resolve(__dirname, '../..');
/** What the chart sets by itself, from `ports`, `listenAddress`, its volume and the Secrets. */
const SET_BY_CHART = ['host', 'grpc_port', 'http_port', 'admin_port', 'data_dir', 'postgres_url', 'clickhouse_url'];

interface Schema {
  readonly type?: string;
  readonly additionalProperties?: boolean;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
}
const schema = (JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')) as Schema).properties?.['config'] as Schema;

const leaves = (node: Schema, path: string[] = []): { path: string[]; schema: Schema }[] =>
  node.properties === undefined
    ? [{ path, schema: node }]
    : Object.entries(node.properties).flatMap(([key, child]) => leaves(child, [...path, key]));

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'thermocline-chart-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function load(file: string, environment: NodeJS.ProcessEnv = {}): Config {
  const path = join(folder, 'thermocline.yaml');
  writeFileSync(path, file);
  return loadConfig(path, environment);
}
const nest = (path: readonly string[], value: unknown): unknown => path.reduceRight((inner, key) => ({ [key]: inner }), value);
/** Whether the server takes the value; limits that depend on each other are given room. */
function accepts(path: readonly string[], value: unknown): boolean {
  const room = path[0] === 'request_bytes_max' ? { in_flight_bytes_max: Number.MAX_SAFE_INTEGER } : {};
  const small = path[0] === 'in_flight_bytes_max' ? { request_bytes_max: 1 } : {};
  try {
    load(JSON.stringify({ ...room, ...small, ...(nest(path, value) as object) }));
    return true;
  } catch {
    return false;
  }
}

describe('values.schema.json', () => {
  it('offers every setting of the server that the chart does not set itself, and no other', () => {
    const offered = leaves(schema).map(({ path }) => path.join('.'));
    const settings = configKeys().map(({ path }) => path.join('.'));
    expect([...offered, ...SET_BY_CHART].sort()).toEqual([...settings].sort());
  });

  it('refuses unknown keys at every level of the configuration', () => {
    const groups = (node: Schema): Schema[] =>
      node.properties === undefined ? [] : [node, ...Object.values(node.properties).flatMap(groups)];
    for (const group of groups(schema)) expect([group.type, group.additionalProperties]).toEqual(['object', false]);
  });

  it.each(leaves(schema).filter((leaf) => leaf.schema.type === 'integer'))(
    'bounds $path as the server does',
    ({ path, schema: { minimum, maximum } }) => {
      expect([accepts(path, minimum), accepts(path, minimum! - 1)]).toEqual([true, false]);
      expect([accepts(path, maximum), accepts(path, maximum! + 1)]).toEqual([true, false]);
    },
  );

  it.each(leaves(schema).filter((leaf) => leaf.schema.enum))(
    'lists for $path values that the server takes',
    ({ path, schema: leaf }) => {
      for (const value of leaf.enum!) expect([value, accepts(path, value)]).toEqual([value, true]);
      expect(accepts(path, 'no-such-value')).toBe(false);
    },
  );
});

interface EnvVar {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: { readonly secretKeyRef: { readonly name: string; readonly key: string } };
}

/** What the server in the pod would read: the image's environment, then the manifest's with the Secret looked up. */
function loadAsPod(manifests: readonly Manifest[]): Config {
  const find = (kind: string) => manifests.find((manifest) => manifest.kind === kind);
  const secret = find('Secret');
  const { template } = find('StatefulSet')!['spec'] as { template: { spec: { containers: [{ env: EnvVar[] }] } } };
  const look = ({ value, valueFrom }: EnvVar) => {
    if (valueFrom === undefined) return value;
    const { name, key } = valueFrom.secretKeyRef;
    return name === secret?.metadata.name ? (secret['stringData'] as Record<string, string>)[key] : `no Secret ${name}`;
  };
  const environment: NodeJS.ProcessEnv = { THERMOCLINE_HOST: '0.0.0.0', THERMOCLINE_DATA_DIR: '/from/the/image' };
  for (const variable of template.spec.containers[0].env) environment[variable.name] = look(variable);
  const file = (find('ConfigMap')!['data'] as Record<string, string>)['thermocline.yaml'];
  expect(environment['THERMOCLINE_CONFIG']).toBe('/etc/thermocline/thermocline.yaml');
  return load(file, { ...environment, THERMOCLINE_CONFIG: '' });
}

describe('the configuration of a pod', () => {
  const stores = { postgres: { url: 'postgres://u:p@pg:5432/t' }, clickhouse: { url: 'https://u:p@ch:8443/t' } };

  it('is the defaults of the server but for what the chart sets', () => {
    expect(loadAsPod(render(stores))).toEqual({
      ...loadConfig(undefined, {}),
      host: '0.0.0.0',
      data_dir: '/var/lib/thermocline',
      postgres_url: stores.postgres.url,
      clickhouse_url: stores.clickhouse.url,
    });
  });

  it('holds every value of `config` unchanged, large numbers included', () => {
    const config = {
      sinks: 'none',
      log_level: 'trace',
      request_bytes_max: 536_870_912,
      in_flight_bytes_max: 9_007_199_254_740_991,
      shutdown_grace_ms: 1_234_567,
      wal: {
        segment_bytes: 1_073_741_824,
        bytes_max: 9_007_199_254_740_991,
        disk_reserve_bytes: 1,
        scrub_bytes_per_second: 1,
        allow_any_filesystem: true,
      },
      idempotency: { window_ms: 86_400_001, keys_max: 9_007_199_254_740_991 },
      delivery: { rows_max: 1_000_000, bytes_max: 33_554_433, interval_ms: 1 },
      dead_letters: { bytes_max: 12_345, tables: ['things'] },
      labels: { policy: 'truncate', count_max: 1, key_bytes_max: 2, value_bytes_max: 9_007_199_254_740_991 },
      routing: {
        metrics: ['hot', 'cold'],
        traces: ['cold'],
        logs: ['hot'],
        rules: [{ signal: 'logs', severity: 'warn', labels: { env: ['prod', 'x*'] }, tables: ['a'], tiers: ['hot'] }],
      },
      postgres: { partitioning: 'partman', keep_days: { metrics_events: 900 } },
      timescale: { chunk_hours: 8_760, compress_after_days: 36_500 },
      clickhouse: {
        cluster: 'main',
        replicated: true,
        replica_path: '/tables/{uuid}/{shard}',
        replica_name: '{replica}',
        distributed: true,
        shard_urls: ['http://a:8123'],
        storage_policy: 'tiered',
        keep_days: { logs_events: 30 },
      },
      rollups: {
        tables: { orders: ['1d'] },
        keep_days: { '1d': 400 },
        close_after_ms: 1,
        interval_ms: 86_400_000,
      },
      demotion: { hot_retention: '90d', tables: { orders: '36h' }, rows_per_second: 9_007_199_254_740_991, interval_ms: 1 },
      query: { rows_max: 1_000_000, timeout_ms: 600_000, hot_rows_max: 1_000_000_000 },
    };
    expect(Object.keys(config).sort()).toEqual(Object.keys(schema.properties!).sort());
    expect(loadAsPod(render({ config, ports: { grpc: 5317, http: 5318, admin: 5080 }, listenAddress: '::' }))).toEqual({
      ...config,
      host: '::',
      grpc_port: 5317,
      http_port: 5318,
      admin_port: 5080,
      data_dir: '/var/lib/thermocline',
    });
  });
});

describe('every THERMOCLINE_ variable', () => {
  const known = new Set([...configKeys().map(({ environment }) => environment), 'THERMOCLINE_CONFIG']);

  it('in compose.yaml is a setting with a value that the server takes', () => {
    const { services } = parse(readFileSync(join(ROOT, 'compose.yaml'), 'utf8')) as {
      services: { thermocline: { environment: Record<string, string> } };
    };
    const { environment } = services.thermocline;
    expect(Object.keys(environment).filter((name) => !known.has(name))).toEqual([]);
    const filled = Object.entries(environment).map(([name, value]) => [name, value.replace(/\$\{(\w+)[^}]*\}/g, '$1')]);
    const config = loadConfig(undefined, Object.fromEntries(filled) as NodeJS.ProcessEnv);
    expect(config.postgres_url).toBe('postgres://thermocline:POSTGRES_PASSWORD@timescaledb:5432/thermocline');
    expect(config.clickhouse_url).toBe('http://thermocline:CLICKHOUSE_PASSWORD@clickhouse:8123/thermocline');
  });

  it.each(['Dockerfile', 'docs/deploy.md', 'deploy/helm/thermocline/README.md', 'deploy/examples/otel-collector.yaml'])(
    'in %s is a setting',
    (file) => {
      // The endpoints are variables of the example, not of the server.
      const names = (readFileSync(join(ROOT, file), 'utf8').match(/\bTHERMOCLINE_[A-Z_]+/g) ?? []).filter(
        (name) => !name.endsWith('_ENDPOINT'),
      );
      expect(names.filter((name) => !known.has(name))).toEqual([]);
    },
  );
});
