/** The real Go Collector and telemetrygen in front of the built command with embedded stores. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { TestServer, temporaryDirectory } from '../support/server';
import { Collector, freePorts, telemetrygen } from './support/collector';
import {
  expectExactLogs,
  expectExactMetrics,
  expectExactSpan,
  logsRequest,
  metricsRequest,
  tracesRequest,
} from './support/exact';
import { EXAMPLE_CONFIG, hasGo } from './support/toolchains';

const describeWithGo = hasGo() ? describe : describe.skip;

const LOGS = 2500;
const TRACES = 400;
const SPANS_PER_TRACE = 2;
const METRICS = 300;
const TYPES = ['Gauge', 'Sum', 'Histogram', 'ExponentialHistogram'] as const;

/** The answer of the Collector: status and body. */
const post = async (port: number, path: string, body: unknown) => {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return [response.status, await response.text()];
};
const ACCEPTED = [200, '{"partialSuccess":{}}'];

/** Sends with telemetrygen: log records, traces and every kind of metric it can make. */
async function generate(endpoint: string, app: string, transport: readonly string[]): Promise<void> {
  const args = [
    ...transport,
    '--service',
    app,
    '--telemetry-attributes',
    'large=9007199254740993',
    '--telemetry-attributes',
    'name="ü"',
  ];
  await telemetrygen('logs', endpoint, [
    ...args,
    '--logs',
    String(LOGS),
    '--severity-text',
    'Warn',
    '--severity-number',
    '13',
    '--body',
    'the body',
  ]);
  await telemetrygen('traces', endpoint, [
    ...args,
    '--traces',
    String(TRACES),
    '--child-spans',
    '1',
    '--status-code',
    'Error',
    '--span-links',
    '1',
  ]);
  for (const type of TYPES)
    await telemetrygen('metrics', endpoint, [...args, '--metrics', String(METRICS), '--metric-type', type]);
}

/** Counts of everything that `generate` sent, and the values that it fixes. */
async function expectGenerated(server: TestServer, app: string): Promise<void> {
  const where = `WHERE app = '${app}'`;
  const logs = `FROM logs_events ${where} AND message = 'the body' AND level = 'WARN' AND severity_number = 13
    AND severity_text = 'Warn' AND labels['large'] = '9007199254740993' AND labels['name'] = 'ü'`;
  await server.sqlUntil('cold', `SELECT count() ${logs}`, LOGS);
  await server.sqlUntil('cold', `SELECT count() FROM logs_events ${where}`, LOGS);
  const spans = `FROM traces_spans ${where} AND status_code = 'error' AND attributes->>'large' = '9007199254740993'`;
  await server.sqlUntil('hot', `SELECT count(*) ${spans}`, TRACES * SPANS_PER_TRACE);
  await server.sqlUntil('hot', `SELECT count(DISTINCT (trace_id, span_id)) ${spans}`, TRACES * SPANS_PER_TRACE);
  // A link points to a span made before, which the first one does not have.
  await server.sqlUntil('hot', `SELECT count(*) ${spans} AND jsonb_array_length(links) = 1`, TRACES * SPANS_PER_TRACE - 1);
  await server.sqlUntil('hot', `SELECT count(*) ${spans} AND parent_span_id <> ''`, TRACES);
  for (const table of ['metrics_events', 'metrics_histograms']) {
    const points = `FROM ${table} ${where} AND labels->>'large' = '9007199254740993'`;
    await server.sqlUntil('hot', `SELECT count(*) ${points}`, 2 * METRICS);
    const { rows } = await server.sql('hot', `SELECT kind, count(*) ${points} GROUP BY kind ORDER BY kind`);
    const kinds = table === 'metrics_events' ? ['gauge', 'sum'] : ['exponential_histogram', 'histogram'];
    expect(rows).toEqual(kinds.map((kind) => [kind, String(METRICS)]));
  }
}

const TRANSPORTS = [
  ['grpc', []],
  ['http', ['--otlp-http']],
] as const;

let server: TestServer;
let data: Awaited<ReturnType<typeof temporaryDirectory>>;
let work = '';
beforeAll(async () => {
  if (!hasGo()) return;
  [data, work] = await Promise.all([temporaryDirectory(), mkdtemp(join(tmpdir(), 'thermocline-interop-'))]);
  server = await TestServer.start({ dataDir: data.path });
}, 120_000);
afterAll(async () => {
  if (!hasGo()) return;
  await server.stop();
  await Promise.all([data.remove(), rm(work, { recursive: true, force: true })]);
}, 60_000);

describeWithGo('telemetrygen straight to the server', () => {
  test.each(TRANSPORTS)('over %s: every row arrives once, with its values', async (transport, flags) => {
    await generate(transport === 'grpc' ? server.grpc : server.http, `direct ${transport}`, flags);
    await expectGenerated(server, `direct ${transport}`);
  });
});

describeWithGo('the Collector with the example configuration', () => {
  let grpcPort = 0;
  let httpPort = 0;
  const start = async (of: TestServer) => {
    [grpcPort, httpPort] = (await freePorts(2)) as [number, number];
    return Collector.start(EXAMPLE_CONFIG, {
      COLLECTOR_GRPC_PORT: String(grpcPort),
      COLLECTOR_HTTP_PORT: String(httpPort),
      COLLECTOR_QUEUE_DIR: join(work, 'queue'),
      THERMOCLINE_GRPC_ENDPOINT: of.grpc,
      THERMOCLINE_HTTP_ENDPOINT: `http://${of.http}`,
    });
  };

  test.each(TRANSPORTS)('passes on what it got over %s: every row arrives once, with its values', async (transport, flags) => {
    const collector = await start(server);
    try {
      await generate(`127.0.0.1:${transport === 'grpc' ? grpcPort : httpPort}`, `example ${transport}`, flags);
      await expectGenerated(server, `example ${transport}`);
    } finally {
      await collector.stop();
    }
    expect(collector.dropped()).toEqual([]);
  });

  test('keeps what it gets while the server is down, over a crash of its own, until the server is back', async () => {
    const own = await temporaryDirectory();
    let behind = await TestServer.start({ dataDir: own.path });
    const [grpc, http] = [behind.grpc, behind.http].map((address) => address.split(':')[1]) as [string, string];
    expect(await behind.stop()).toBe(0);
    let collector = await start(behind);
    try {
      await telemetrygen('logs', `127.0.0.1:${grpcPort}`, ['--service', 'outage', '--logs', String(LOGS)]);
      await telemetrygen('traces', `127.0.0.1:${grpcPort}`, ['--service', 'outage', '--traces', String(TRACES)]);
      await collector.stop('SIGKILL');
      behind = await TestServer.start({ dataDir: own.path, settings: { GRPC_PORT: grpc, HTTP_PORT: http } });
      collector = await start(behind);
      await behind.sqlUntil('cold', `SELECT count() FROM logs_events WHERE app = 'outage'`, LOGS, 60_000);
      await behind.sqlUntil('hot', `SELECT count(*) FROM traces_spans WHERE app = 'outage'`, TRACES * SPANS_PER_TRACE, 60_000);
    } finally {
      await collector.stop();
      await behind.stop();
      await own.remove();
    }
  }, 150_000);
});

/** Every encoding and compression of its exporters that the server promises. */
const EXPORTERS = [
  ...['none', 'gzip'].map((compression) => ({ type: 'otlp_grpc', encoding: 'proto', compression })),
  ...['proto', 'json'].flatMap((encoding) =>
    ['none', 'gzip', 'deflate', 'zstd', 'snappy'].map((compression) => ({ type: 'otlp_http', encoding, compression })),
  ),
].map((exporter) => ({ ...exporter, name: `${exporter.type.slice(5)} ${exporter.encoding} ${exporter.compression}` }));

const id = (index: number) => `m${index}`;

/** One Collector, with a receiver and a pipeline of its own for every exporter. */
function matrixConfig(ports: readonly number[]): string {
  const each = <T>(make: (exporter: (typeof EXPORTERS)[number], index: number) => readonly [string, T]) =>
    Object.fromEntries(EXPORTERS.map(make));
  const signals = ['traces', 'metrics', 'logs'];
  return stringify({
    receivers: each((_, i) => [`otlp/${id(i)}`, { protocols: { http: { endpoint: `127.0.0.1:${ports[i]}` } } }]),
    exporters: each(({ type, encoding, compression }, i) => [
      `${type}/${id(i)}`,
      {
        endpoint: type === 'otlp_grpc' ? server.grpc : `http://${server.http}`,
        compression,
        ...(type === 'otlp_grpc' ? { tls: { insecure: true } } : { encoding }),
        // Without a queue the sender gets the server's own answer.
        sending_queue: { enabled: false },
        retry_on_failure: { enabled: false },
      },
    ]),
    service: {
      telemetry: { metrics: { level: 'none' } },
      pipelines: Object.fromEntries(
        EXPORTERS.flatMap(({ type }, i) =>
          signals.map((signal) => [`${signal}/${id(i)}`, { receivers: [`otlp/${id(i)}`], exporters: [`${type}/${id(i)}`] }]),
        ),
      ),
    },
  });
}

describeWithGo('the exporters of the Collector', () => {
  let collector: Collector;
  let ports: number[] = [];
  beforeAll(async () => {
    ports = await freePorts(EXPORTERS.length);
    const path = join(work, 'matrix.yaml');
    await writeFile(path, matrixConfig(ports));
    collector = await Collector.start(path);
  });
  afterAll(() => collector.stop());

  describe.each(EXPORTERS.map((exporter, index) => ({ ...exporter, index })))('$name', ({ name, index }) => {
    test('delivers log records with every field exact', async () => {
      expect(await post(ports[index], '/v1/logs', logsRequest(name))).toEqual(ACCEPTED);
      await expectExactLogs(server, name);
    });

    test('delivers spans with every field exact', async () => {
      expect(await post(ports[index], '/v1/traces', tracesRequest(name))).toEqual(ACCEPTED);
      await expectExactSpan(server, name);
    });

    test('delivers metric points of every kind with every field exact', async () => {
      expect(await post(ports[index], '/v1/metrics', metricsRequest(name))).toEqual(ACCEPTED);
      await expectExactMetrics(server, name);
    });
  });
});
