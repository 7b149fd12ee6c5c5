/** The Flight adapter behind its real listener, over ports in memory. */
import { FlightAdapter, type FlightAdapterOptions } from '../../src/adapters/flight/adapter';
import { GrpcListener } from '../../src/adapters/grpc-listener';
import { lsn } from '../../src/core/ids';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { FlightTestClient } from './flight-client';
import { MemoryRegistry, RecordingIngest } from './recording-ingest';

export interface FlightServer {
  readonly ingest: RecordingIngest;
  readonly registry: MemoryRegistry;
  readonly address: string;
  readonly client: FlightTestClient;
  stop(graceMs?: number): Promise<void>;
}

export async function startFlight(
  options: Partial<FlightAdapterOptions> & { ingest?: RecordingIngest; messageBytesMax?: number } = {},
): Promise<FlightServer> {
  const { ingest = new RecordingIngest(), messageBytesMax, ...rest } = options;
  const registry = new MemoryRegistry();
  const adapter = new FlightAdapter({
    ingest,
    registry,
    telemetry: new Telemetry(),
    sql: { hot: undefined, cold: undefined },
    erasers: [],
    batches: { status: () => undefined },
    progress: { durableLsn: () => lsn(ingest.writes.length), delivered: () => Promise.resolve() },
    ...rest,
  });
  const listener = new GrpcListener({
    host: '127.0.0.1',
    port: 0,
    services: adapter.services,
    logger: silentLogger(),
    ...(messageBytesMax === undefined ? {} : { messageBytesMax }),
  });
  const address = await listener.start();
  const client = new FlightTestClient(address);
  return {
    ingest,
    registry,
    address,
    client,
    async stop(graceMs = 2_000) {
      await listener.stop(graceMs);
      client.close();
    },
  };
}
