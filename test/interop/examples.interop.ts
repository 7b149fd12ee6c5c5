/** The examples for other languages, as they are in deploy/examples, against the built command: they work by reflection and by the interface file. */
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { TestServer, temporaryDirectory } from '../support/server';
import { GRPCURL, hasGo, hasPython, PYTHON } from './support/toolchains';

const run = promisify(execFile);
const ROOT = resolve(__dirname, '../..');
const EXAMPLES = join(ROOT, 'deploy/examples');
const SERVICES = [
  'arrow.flight.protocol.FlightService',
  'grpc.health.v1.Health',
  'opentelemetry.proto.collector.logs.v1.LogsService',
  'opentelemetry.proto.collector.metrics.v1.MetricsService',
  'opentelemetry.proto.collector.trace.v1.TraceService',
  'thermocline.ingest.v1.IngestService',
];

let server: TestServer;
let data: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeAll(async () => {
  data = await temporaryDirectory();
  server = await TestServer.start({ dataDir: join(data.path, 'data') });
}, 120_000);
afterAll(async () => {
  await server.stop();
  await data.remove();
}, 60_000);

(hasGo() ? describe : describe.skip)('grpcurl', () => {
  const grpcurl = async (...args: string[]): Promise<string> => (await run(GRPCURL, ['-plaintext', ...args])).stdout;

  it('finds every service by reflection, and its health', async () => {
    expect((await grpcurl(server.grpc, 'list')).trim().split('\n')).toEqual(SERVICES);
    for (const service of SERVICES) {
      expect(await grpcurl(server.grpc, 'describe', service)).toContain('is a service');
      if (service === 'grpc.health.v1.Health') continue;
      const health = await grpcurl('-d', JSON.stringify({ service }), server.grpc, 'grpc.health.v1.Health/Check');
      expect([service, JSON.parse(health)]).toEqual([service, { status: 'SERVING' }]);
    }
  });

  it('the example writes rows that SQL finds', async () => {
    const env = { ...process.env, PATH: `${dirname(GRPCURL)}:${process.env['PATH']}` };
    await run('sh', [join(EXAMPLES, 'ingest-grpcurl.sh'), server.grpc], { env });
    await server.sqlUntil('hot', 'SELECT count(*) FROM readings', 4);
    expect((await server.sql('hot', 'SELECT sum(value) FROM readings')).rows).toEqual([[84.25]]);
  });
});

(hasPython() ? describe : describe.skip)('Python', () => {
  it('the example writes columns, Arrow and a stream that SQL finds', async () => {
    const generated = join(data.path, 'generated');
    await mkdir(generated);
    const proto = 'proto/thermocline/ingest/v1/ingest.proto';
    const out = [`--python_out=${generated}`, `--grpc_python_out=${generated}`];
    await run(PYTHON, ['-m', 'grpc_tools.protoc', '-I', 'proto', ...out, proto], { cwd: ROOT });
    const env = { ...process.env, PYTHONPATH: generated };
    const { stdout } = await run(PYTHON, [join(EXAMPLES, 'ingest_python.py'), server.grpc], { env });
    expect(stdout.match(/request \d stored/g)).toHaveLength(10);
    await server.sqlUntil('hot', 'SELECT count(*) FROM readings_py', 2_002);
  });
});
