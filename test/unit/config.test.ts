import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, configKeys, loadConfig, maskConfig } from '../../src/config';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'thermocline-config-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

function file(yaml: string): string {
  const path = join(directory, 'config.yaml');
  writeFileSync(path, yaml);
  return path;
}

test('without a file or a variable every setting has its documented default', () => {
  const config = loadConfig(undefined, {});
  expect([config.grpc_port, config.http_port, config.admin_port, config.host, config.data_dir]).toEqual([
    4317,
    4318,
    8080,
    '127.0.0.1',
    './data',
  ]);
  expect(config.routing).toEqual({ metrics: ['hot'], traces: ['hot'], logs: ['cold'], rules: [] });
  expect(config.postgres_url).toBeUndefined();
});

test('the file sets a value and the environment overrides it, also in a group', () => {
  const path = file('grpc_port: 1\ndelivery:\n  rows_max: 10\n  interval_ms: 20\n');
  const config = loadConfig(path, { THERMOCLINE_DELIVERY_ROWS_MAX: '30', THERMOCLINE_GRPC_PORT: '0' });
  expect([config.grpc_port, config.delivery.rows_max, config.delivery.interval_ms]).toEqual([0, 30, 20]);
});

test('a tier list is given as text or as a list', () => {
  expect(loadConfig(undefined, { THERMOCLINE_ROUTING_LOGS: 'hot, cold' }).routing.logs).toEqual(['hot', 'cold']);
  expect(loadConfig(file('routing: { traces: [cold] }'), {}).routing.traces).toEqual(['cold']);
});

test.each([
  ['an unknown key in the file', 'colour: red', {}, /colour/],
  ['an unknown key in a group', 'delivery: { row_max: 1 }', {}, /delivery\.row_max/],
  ['an unknown variable', '', { THERMOCLINE_GRPC_PROT: '1' }, /THERMOCLINE_GRPC_PROT is not a setting/],
  ['a port out of range', 'http_port: 70000', {}, /http_port/],
  ['a tier that does not exist', '', { THERMOCLINE_ROUTING_LOGS: 'warm' }, /routing\.logs/],
  ['a URL of the wrong kind', 'clickhouse_url: postgres://x', {}, /clickhouse_url/],
  ['a budget below one request', 'in_flight_bytes_max: 5', {}, /in_flight_bytes_max/],
  ['a file that is not a mapping', '- a', {}, /mapping/],
  ['a file that is not YAML', 'a: [', {}, /cannot read/],
])('%s is an error that names it', (_what, yaml, environment, message) => {
  const load = (): unknown => loadConfig(file(yaml), environment);
  expect(load).toThrow(ConfigError);
  expect(load).toThrow(message);
});

test('a missing file is an error, not an empty configuration', () => {
  expect(() => loadConfig(join(directory, 'nothing.yaml'), {})).toThrow(/cannot read/);
});

test('variables that Kubernetes sets for a Service of our name are not settings', () => {
  const environment = {
    THERMOCLINE_SERVICE_HOST: '10.0.0.1',
    THERMOCLINE_PORT: 'tcp://10.0.0.1:4317',
    THERMOCLINE_PORT_4317_TCP_ADDR: '10.0.0.1',
  };
  expect(loadConfig(undefined, environment).grpc_port).toBe(4317);
});

test('passwords are masked, the rest of a URL is not', () => {
  const config = loadConfig(undefined, {
    THERMOCLINE_POSTGRES_URL: 'postgres://u:secret@h:5/d?sslmode=require',
    THERMOCLINE_CLICKHOUSE_URL: 'http://h:8123/d?password=secret',
  });
  const masked = JSON.stringify(maskConfig(config));
  expect(masked).not.toContain('secret');
  expect(masked).toContain('postgres://u:***@h:5/d?sslmode=require');
});

test('every setting has a description and a variable of its own', () => {
  const keys = configKeys();
  expect(keys.filter((key) => key.description === '')).toEqual([]);
  expect(new Set(keys.map((key) => key.environment)).size).toBe(keys.length);
});

test('routing rules are a list in the file and YAML text in the environment', () => {
  const rules = [{ signal: 'logs', severity: 'error', labels: { env: ['prod'] }, tiers: ['hot', 'cold'] }];
  const text = '[{signal: logs, severity: error, labels: {env: prod}, tiers: "hot,cold"}]';
  expect(loadConfig(undefined, { THERMOCLINE_ROUTING_RULES: text }).routing.rules).toEqual(rules);
  const bad = (value: string) => () => loadConfig(undefined, { THERMOCLINE_ROUTING_RULES: value });
  expect(bad('[{signal: logs}]')).toThrow(/routing\.rules\.0\.tiers/);
  expect(bad('[{severity: loud, tiers: hot}]')).toThrow(/routing\.rules\.0\.severity/);
  expect(bad('[{tiers: hot, app: x}]')).toThrow(/routing\.rules\.0\.app/);
  expect(bad('[}')).toThrow(/routing\.rules: is not YAML/);
});

test('a cluster needs a ClickHouse of its own, and shards need distributed tables', () => {
  const load = (settings: Record<string, string>) => () =>
    loadConfig(
      undefined,
      Object.fromEntries(Object.entries(settings).map(([name, value]) => [`THERMOCLINE_CLICKHOUSE_${name}`, value])),
    );
  const url = { URL: 'http://user:secret@ch:8123/db' };
  expect(load({ REPLICATED: 'true' })).toThrow(/clickhouse_url is needed/);
  expect(load({ ...url, DISTRIBUTED: 'true' })).toThrow(/clickhouse\.distributed: needs clickhouse\.cluster/);
  expect(load({ ...url, SHARD_URLS: '[http://a:8123]' })).toThrow(/shard_urls: needs clickhouse\.distributed/);
  const config = load({
    ...url,
    CLUSTER: 'c',
    DISTRIBUTED: 'true',
    SHARD_URLS: '["http://u:secret@a:8123"]',
    KEEP_DAYS: '{logs_events: 30}',
  })();
  expect(config.clickhouse).toMatchObject({ cluster: 'c', distributed: true, replicated: false, keep_days: { logs_events: 30 } });
  expect(JSON.stringify(maskConfig(config))).not.toContain('secret');
});

test('rows of postgresql may end only after the age at which they are moved', () => {
  const load = (demotion: string) =>
    loadConfig(undefined, {
      THERMOCLINE_POSTGRES_KEEP_DAYS: '{"metrics_events": 30}',
      THERMOCLINE_DEMOTION_TABLES: demotion,
      THERMOCLINE_DEMOTION_HOT_RETENTION: '40d',
    });
  expect(() => load('{}')).toThrow(
    new ConfigError(
      'configuration: postgres.keep_days: rows of metrics_events move to clickhouse at that age or later (demotion.hot_retention): more days are needed',
    ),
  );
  expect(() => load('{"metrics_events": "30d"}')).toThrow(/more days are needed/);
  expect(load('{"metrics_events": "29d"}').postgres.keep_days).toEqual({ metrics_events: 30 });
});
