/** compose.yaml and the example configurations of other programs. */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse } from 'yaml';
import { loadConfig } from '../../src/config';
import { HEALTHY_THEN_NOT, healthCheckCodes } from './support/health-check';
import { CHART } from './support/helm';

const ROOT = resolve(__dirname, '../..');
const readYaml = (path: string): unknown => parse(readFileSync(join(ROOT, path), 'utf8'));
/** The value that an OpenTelemetry Collector takes where the variable is not set. */
const fallback = (text: string) => text.replace(/\$\{env:\w+:-(.*)\}/, '$1');
const version = (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }).version;
const defaults = loadConfig(undefined, {});

interface Service {
  readonly image: string;
  readonly build?: { readonly target: string };
  readonly environment: Readonly<Record<string, string>>;
  readonly volumes: readonly string[];
  readonly ports?: readonly string[];
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly profiles?: readonly string[];
  readonly stop_grace_period?: string;
}
const compose = readYaml('compose.yaml') as { services: Record<string, Service>; volumes: Record<string, unknown> };
const services = Object.entries(compose.services);

describe('compose.yaml', () => {
  it('pins the version of every image', () => {
    for (const [name, { image }] of services) {
      const tag = image.replace(/\$\{THERMOCLINE_VERSION:-(.+)\}$/, '$1').split(':')[1];
      expect([name, tag]).toEqual([name, expect.stringMatching(/^\d+\.\d+/)]);
    }
    expect(compose.services['thermocline']?.image).toContain(`:-${version}}`);
  });

  it('holds no password, and stops with an explanation where one is not set', () => {
    const text = readFileSync(join(ROOT, 'compose.yaml'), 'utf8');
    const passwords = [...text.matchAll(/\$\{(\w*PASSWORD)([^}]*)\}/g)];
    expect(passwords.length).toBe(4);
    for (const [, , rest] of passwords) expect(rest).toMatch(/^:\?.*compose\.env\.example/);
    expect(text).not.toMatch(/PASSWORD: (?!\$\{)/);
    const example = readFileSync(join(ROOT, 'deploy/compose.env.example'), 'utf8');
    for (const name of new Set(passwords.map(([, found]) => found))) expect(example).toMatch(new RegExp(`^${name}=$`, 'm'));
  });

  it('publishes ports of the gateway and the collector alone, on the loopback address unless told otherwise', () => {
    expect(services.filter(([, { ports }]) => ports).map(([name]) => name)).toEqual(['thermocline', 'collector']);
    for (const [, { ports }] of services)
      for (const port of ports ?? []) expect(port).toMatch(/^\$\{PUBLISH_ADDRESS:-127\.0\.0\.1\}:/);
    const inside = compose.services['thermocline']?.ports?.map((port) => Number(port.split(':').at(-1)));
    expect(inside).toEqual([defaults.grpc_port, defaults.http_port, defaults.admin_port]);
  });

  it('keeps the data of every service on a named volume, and mounts only files that are there', () => {
    for (const [name, { volumes }] of services) {
      const named = volumes.filter((volume) => !volume.startsWith('.'));
      expect([name, named.length]).toEqual([name, 1]);
      expect(Object.keys(compose.volumes)).toContain(named[0].split(':')[0]);
      for (const mount of volumes.filter((volume) => volume.startsWith('.'))) {
        expect(existsSync(join(ROOT, mount.split(':')[0]))).toBe(true);
        expect(mount).toMatch(/:ro$/);
      }
    }
  });

  it('waits for services that are healthy and have a health check', () => {
    for (const [, { depends_on: needs }] of services) {
      for (const [name, { condition }] of Object.entries(needs ?? {})) {
        expect(condition).toBe('service_healthy');
        expect(compose.services[name]?.healthcheck?.test[0]).toBe('CMD');
      }
    }
    expect(Object.keys(compose.services['thermocline']?.depends_on ?? {})).toEqual(['timescaledb', 'clickhouse']);
  });

  it('tells by its health check whether the server accepts data', async () => {
    const [, ...command] = compose.services['thermocline'].healthcheck!.test;
    expect(command[2]).toContain(`127.0.0.1:${defaults.admin_port}/`);
    const point = (port: number) => ({ SCRIPT: command[2].replace(`:${defaults.admin_port}/`, `:${port}/`) });
    expect(await healthCheckCodes(['node', '-e', 'eval(process.env.SCRIPT)'], '/readyz', point)).toEqual(HEALTHY_THEN_NOT);
  });

  it('gives the server longer to stop than its drain may take', () => {
    const seconds = Number(/^(\d+)s$/.exec(compose.services['thermocline']?.stop_grace_period ?? '')?.[1]);
    expect(seconds * 1000).toBeGreaterThan(defaults.shutdown_grace_ms + 5000);
  });

  it('asks for stores that the Dockerfile target has no engines for', () => {
    expect(compose.services['thermocline']?.build?.target).toBe('gateway');
    const { environment } = compose.services['thermocline'];
    expect(new URL(environment['THERMOCLINE_POSTGRES_URL'].replace(/\$\{[^}]*\}/, 'x')).hostname).toBe('timescaledb');
    expect(new URL(environment['THERMOCLINE_CLICKHOUSE_URL'].replace(/\$\{[^}]*\}/, 'x')).hostname).toBe('clickhouse');
    expect([
      compose.services['timescaledb']?.environment['POSTGRES_DB'],
      compose.services['clickhouse']?.environment['CLICKHOUSE_DB'],
    ]).toEqual(['thermocline', 'thermocline']);
  });
});

interface Exporter {
  readonly endpoint: string;
  readonly retry_on_failure: { readonly enabled: boolean; readonly max_elapsed_time: string };
  readonly sending_queue: {
    readonly storage: string;
    readonly block_on_overflow: boolean;
    readonly queue_size: number;
    readonly batch: Record<string, unknown>;
  };
}

describe('deploy/examples/otel-collector.yaml', () => {
  const config = readYaml('deploy/examples/otel-collector.yaml') as {
    exporters: Record<string, Exporter>;
    service: { pipelines: Record<string, { processors: string[]; exporters: string[] }> };
  };

  it('sends every signal to the default ports of the server', () => {
    expect(Object.keys(config.service.pipelines).sort()).toEqual(['logs', 'metrics', 'traces']);
    const used = Object.values(config.service.pipelines).flatMap(({ exporters }) => exporters);
    expect([...new Set(used)].sort()).toEqual(Object.keys(config.exporters).sort());
    expect(fallback(config.exporters['otlp_grpc'].endpoint)).toBe(`127.0.0.1:${defaults.grpc_port}`);
    expect(fallback(config.exporters['otlp_http'].endpoint)).toBe(`http://127.0.0.1:${defaults.http_port}`);
  });

  it('loses nothing: queues on disk, retries without end, senders held when the queue is full', () => {
    for (const { retry_on_failure: retry, sending_queue: queue } of Object.values(config.exporters)) {
      expect(retry).toMatchObject({ enabled: true, max_elapsed_time: '0s' });
      expect(queue).toMatchObject({ storage: 'file_storage/queue', block_on_overflow: true });
    }
  });

  it('is the one that compose.yaml mounts, with variables that the file reads', () => {
    const text = readFileSync(join(ROOT, 'deploy/examples/otel-collector.yaml'), 'utf8');
    const { environment, volumes } = compose.services['collector'];
    expect(volumes[0]).toMatch(/^\.\/deploy\/examples\/otel-collector\.yaml:/);
    for (const name of Object.keys(environment)) expect(text).toContain(`\${env:${name}:-`);
  });
});

interface VectorSink {
  readonly type: string;
  readonly inputs: readonly string[];
  readonly uri?: string;
  readonly protocol?: {
    readonly uri: string;
    readonly encoding: { readonly codec: string };
    readonly request: { readonly retry_attempts: number };
  };
  readonly request?: { readonly headers: Record<string, string>; readonly retry_attempts: number };
  readonly framing?: { readonly method: string };
  readonly encoding?: { readonly codec: string };
  readonly buffer: { readonly type: string; readonly when_full: string; readonly max_size: number };
  readonly acknowledgements: { readonly enabled: boolean };
}

describe('deploy/examples/vector.yaml', () => {
  const config = readYaml('deploy/examples/vector.yaml') as {
    sources: Record<string, { use_otlp_decoding?: boolean }>;
    transforms: object;
    sinks: Record<string, VectorSink>;
  };
  const sinks = Object.values(config.sinks);

  it('sends OTLP of every signal and rows as NDJSON to the default port of the server', () => {
    const base = `http://127.0.0.1:${defaults.http_port}`;
    const otlp = sinks.filter(({ type }) => type === 'opentelemetry');
    expect(otlp.map(({ protocol }) => protocol?.uri)).toEqual(
      ['logs', 'metrics', 'traces'].map((signal) => `${base}/v1/${signal}`),
    );
    for (const { inputs, protocol } of otlp) {
      expect(inputs).toEqual([`otlp_in.${protocol!.uri.split('/').at(-1)}`]);
      expect(protocol?.encoding.codec).toBe('otlp');
    }
    expect(config.sources['otlp_in']?.use_otlp_decoding).toBe(true);
    const [rows] = sinks.filter(({ type }) => type === 'http');
    expect(rows).toMatchObject({
      uri: `${base}/write/logs`,
      encoding: { codec: 'json' },
      framing: { method: 'newline_delimited' },
      request: { headers: { 'Content-Type': 'application/x-ndjson' } },
    });
  });

  it('loses nothing: buffers on disk of the least size that Vector allows or more, end-to-end acknowledgements', () => {
    expect(sinks).toHaveLength(4);
    for (const { buffer, acknowledgements, protocol, request } of sinks) {
      expect(buffer).toMatchObject({ type: 'disk', when_full: 'block' });
      expect(buffer.max_size).toBeGreaterThanOrEqual(268_435_488);
      expect(acknowledgements.enabled).toBe(true);
      expect((protocol?.request ?? request)?.retry_attempts).toBeGreaterThan(1_000_000);
    }
  });

  it('reads only from sources and transforms that it has', () => {
    const known = [...Object.keys(config.sources), ...Object.keys(config.transforms)];
    for (const { inputs } of sinks) for (const input of inputs) expect(known).toContain(input.split('.')[0]);
  });
});

describe('deploy/examples/grafana-datasources.yaml', () => {
  it('names the services of compose.yaml and keeps passwords out of the file', () => {
    const { datasources } = readYaml('deploy/examples/grafana-datasources.yaml') as {
      datasources: { uid: string; url?: string; jsonData?: { host?: string }; secureJsonData?: { password: string } }[];
    };
    expect(new Set(datasources.map(({ uid }) => uid)).size).toBe(datasources.length);
    const hosts = datasources.slice(0, 2).map(({ url, jsonData }) => jsonData?.host ?? url?.split(':')[0]);
    for (const host of hosts) expect(Object.keys(compose.services)).toContain(host);
    const passwords = datasources.flatMap(({ secureJsonData }) => secureJsonData?.password ?? []);
    expect(passwords).toHaveLength(2);
    for (const password of passwords) expect(password).toMatch(/^\$\{\w+\}$/);
  });
});

it('gives chart, application and package one version', () => {
  expect(parse(readFileSync(join(CHART, 'Chart.yaml'), 'utf8'))).toMatchObject({ version, appVersion: version });
});
