/**
 * Export requests of a given number of rows, encoded by protobufjs: logs of about 323 bytes (6 attributes, ids, a body of
 * about 100), metric points of 159 bytes (4 attributes), spans of 409 bytes (8 attributes, an event on every fifth).
 * Deterministic: the same count and seed give the same bytes.
 */
import { join } from 'node:path';
import { Root } from 'protobufjs';

type Signal = 'logs' | 'metrics' | 'traces';

const COLLECTOR = 'opentelemetry/proto/collector';
const REQUESTS: Readonly<Record<Signal, { file: string; type: string }>> = {
  logs: { file: `${COLLECTOR}/logs/v1/logs_service.proto`, type: 'ExportLogsServiceRequest' },
  metrics: { file: `${COLLECTOR}/metrics/v1/metrics_service.proto`, type: 'ExportMetricsServiceRequest' },
  traces: { file: `${COLLECTOR}/trace/v1/trace_service.proto`, type: 'ExportTraceServiceRequest' },
};

function encodeRequest(signal: Signal, object: object): Uint8Array {
  const { file, type } = REQUESTS[signal];
  const root = new Root();
  // src/cli and dist/cli lie at the same depth.
  root.resolvePath = (_origin, target) => join(__dirname, '../../proto', target);
  const message = root.loadSync(file).lookupType(type);
  return Uint8Array.from(message.encode(message.fromObject(object)).finish());
}

const BASE_NS = 1_790_000_000_000_000_000n;

/** A small linear congruential generator: payloads must be the same on every run. */
function randomizer(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const text = (key: string, value: string): object => ({ key, value: { stringValue: value } });
const integer = (key: string, value: number): object => ({ key, value: { intValue: value } });
const double = (key: string, value: number): object => ({ key, value: { doubleValue: value } });
const boolean = (key: string, value: boolean): object => ({ key, value: { boolValue: value } });

const RESOURCE = {
  attributes: [
    text('service.name', 'checkout'),
    text('service.version', '2.14.3'),
    text('host.name', 'node-17.eu-west-1.example.org'),
    text('k8s.namespace.name', 'shop'),
    text('k8s.pod.name', 'checkout-7d9f6c5b8-x2x7q'),
    text('deployment.environment.name', 'production'),
  ],
};
const SCOPE = { name: 'org.example.instrumentation', version: '1.4.0' };

const METHODS = ['GET', 'POST', 'PUT', 'DELETE'];
const ROUTES = ['/cart', '/cart/{id}', '/orders', '/orders/{id}/items', '/health', '/products/{id}'];
const BODIES = [
  'payment authorised for the order, waiting for the warehouse to confirm that all items are in stock (a',
  'connection to the inventory service was slow, the request took longer than the 99th percentile (try ',
  'user signed in with a one-time code, session opened from a known device, language and currency set (',
];

const bytesFrom = (random: (below: number) => number, length: number): Uint8Array =>
  Uint8Array.from({ length }, () => random(255) + 1);

const request = (signal: Signal, list: string, scopes: string, rows: string, values: object[]): Uint8Array =>
  encodeRequest(signal, {
    [list]: [{ resource: RESOURCE, [scopes]: [{ scope: SCOPE, [rows]: values }] }],
  });

/** One ExportLogsServiceRequest of `rows` records. */
export function logsPayload(rows: number, seed = 1): Uint8Array {
  const random = randomizer(seed);
  const records = Array.from({ length: rows }, (_, i) => ({
    timeUnixNano: String(BASE_NS + BigInt(i) * 1_000_003n),
    observedTimeUnixNano: String(BASE_NS + BigInt(i) * 1_000_003n + 512_345n),
    severityNumber: [5, 9, 9, 9, 13, 17][random(6)],
    severityText: 'INFO',
    body: { stringValue: `${BODIES[i % BODIES.length]}${random(100_000)})` },
    attributes: [
      text('http.request.method', METHODS[random(4)]),
      text('http.route', ROUTES[random(6)]),
      integer('http.response.status_code', 200 + random(300)),
      text('user.id', `u-${random(1_000_000)}`),
      text('thread.name', `worker-${random(16)}`),
      double('duration', random(100_000) / 1000),
    ],
    traceId: bytesFrom(random, 16),
    spanId: bytesFrom(random, 8),
    flags: 1,
  }));
  return request('logs', 'resourceLogs', 'scopeLogs', 'logRecords', records);
}

/** One ExportMetricsServiceRequest of `rows` number points, 100 to a metric. */
export function metricsPayload(rows: number, seed = 2): Uint8Array {
  const random = randomizer(seed);
  const metrics = Array.from({ length: Math.ceil(rows / 100) }, (_, m) => {
    const dataPoints = Array.from({ length: Math.min(100, rows - m * 100) }, (__, i) => ({
      attributes: [
        text('http.request.method', METHODS[random(4)]),
        text('http.route', ROUTES[random(6)]),
        text('k8s.pod.name', `checkout-7d9f6c5b8-${1000 + random(9000)}`),
        integer('http.response.status_code', 200 + random(300)),
      ],
      startTimeUnixNano: String(BASE_NS),
      timeUnixNano: String(BASE_NS + BigInt(i) * 1_000_000n),
      ...(m % 2 === 0 ? { asDouble: random(1_000_000) / 7 } : { asInt: random(1_000_000) }),
    }));
    const identity = { name: `shop.requests.${m % 20}`, description: 'Requests served', unit: '1' };
    return m % 2 === 0
      ? { ...identity, gauge: { dataPoints } }
      : { ...identity, sum: { dataPoints, aggregationTemporality: 2, isMonotonic: true } };
  });
  return request('metrics', 'resourceMetrics', 'scopeMetrics', 'metrics', metrics);
}

/** One ExportTraceServiceRequest of `rows` spans. */
export function tracesPayload(rows: number, seed = 3): Uint8Array {
  const random = randomizer(seed);
  const spans = Array.from({ length: rows }, (_, i) => {
    const start = BASE_NS + BigInt(i) * 1_000_003n;
    return {
      traceId: bytesFrom(random, 16),
      spanId: bytesFrom(random, 8),
      parentSpanId: i % 4 === 0 ? new Uint8Array(0) : bytesFrom(random, 8),
      name: `${METHODS[random(4)]} ${ROUTES[random(6)]}`,
      kind: 1 + random(5),
      startTimeUnixNano: String(start),
      endTimeUnixNano: String(start + BigInt(random(1_000_000_000))),
      attributes: [
        text('http.request.method', METHODS[random(4)]),
        text('http.route', ROUTES[random(6)]),
        text('url.path', `/orders/${random(1_000_000)}/items`),
        text('server.address', 'checkout.shop.svc.cluster.local'),
        integer('server.port', 8080),
        integer('http.response.status_code', 200 + random(300)),
        text('user_agent.original', 'Mozilla/5.0 (X11; Linux x86_64)'),
        boolean('http.resend', random(10) === 0),
      ],
      events:
        i % 5 === 0
          ? [
              {
                timeUnixNano: String(start + 1000n),
                name: 'retry',
                attributes: [integer('attempt', random(5)), text('reason', 'timeout')],
              },
            ]
          : [],
      status: random(10) === 0 ? { code: 2, message: 'timeout' } : { code: 1 },
      flags: 1,
    };
  });
  return request('traces', 'resourceSpans', 'scopeSpans', 'spans', spans);
}

const PAYLOADS = { logs: logsPayload, metrics: metricsPayload, traces: tracesPayload } as const;

/** `count` different requests of `rows` rows each. */
export function encodePayloads(signal: Signal, rows: number, count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => PAYLOADS[signal](rows, i + 1));
}
