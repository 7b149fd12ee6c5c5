/**
 * The gRPC listener that all gRPC protocols share: OTLP now, others by one more entry of `services`. With health
 * (grpc.health.v1) and reflection (v1 and v1alpha). Unknown services are UNIMPLEMENTED at once.
 */
import type { Settings } from 'node:http2';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation, protoPath as healthProtoPath } from 'grpc-health-check';
import { LIMITS } from '../core/limits';
import type { Logger } from '../telemetry';
import { GrpcCallGuard, STREAM_WINDOW_BYTES } from './grpc-call-guard';
import type { GrpcService } from './grpc-contract';
import { reflectionDefinitions } from './grpc-reflection';

export interface GrpcListenerOptions {
  readonly host: string;
  /** 0 picks a free port. */
  readonly port: number;
  readonly services: readonly GrpcService[];
  readonly logger: Logger;
  /** Of one message, before and after decompression (OG3). */
  readonly messageBytesMax?: number;
  readonly concurrentStreamsMax?: number;
  readonly requestTimeoutMs?: number;
  /** See grpc-call-guard.ts. */
  readonly arrivingBytesMax?: number;
  readonly arrivingWaitMs?: number;
  readonly arrivingStallMs?: number;
  readonly keepaliveTimeMs?: number;
  readonly keepaliveTimeoutMs?: number;
}

/** The folder of interface files: src/adapters and dist/adapters lie at the same depth. */
const PROTO_FOLDER = join(__dirname, '..', '..', 'proto');

export class GrpcListener {
  private readonly server: Server;
  private readonly guard: GrpcCallGuard;
  private readonly health = new HealthImplementation();
  private stopped = false;

  constructor(private readonly options: GrpcListenerOptions) {
    const messageBytesMax = options.messageBytesMax ?? LIMITS.requestBytesMax;
    this.guard = new GrpcCallGuard({
      services: options.services,
      messageBytesMax,
      requestTimeoutMs: options.requestTimeoutMs ?? 60_000,
      arrivingBytesMax: options.arrivingBytesMax ?? LIMITS.arrivingBytesMax,
      arrivingWaitMs: options.arrivingWaitMs ?? 30_000,
      arrivingStallMs: options.arrivingStallMs ?? 2_000,
      onUnguarded: () => options.logger.warn('this version of grpc-js cannot be guarded: see grpc-call-guard.ts'),
      onBug: (path, cause) => options.logger.error({ err: cause, path }, 'request failed'),
    });
    this.server = new Server({
      interceptors: [this.guard.interceptor],
      'grpc.max_receive_message_length': messageBytesMax,
      'grpc.max_send_message_length': -1,
      'grpc.max_concurrent_streams': options.concurrentStreamsMax ?? 1_000,
      'grpc.keepalive_time_ms': options.keepaliveTimeMs ?? 60_000,
      'grpc.keepalive_timeout_ms': options.keepaliveTimeoutMs ?? 20_000,
      'grpc.enable_channelz': 0,
    });
    widenHttp2(this.server);
    for (const { definition, implementation } of options.services) this.server.addService(definition, implementation);
    this.health.addToServer(this.server);
    reflectionOf(options.services).addToServer(this.server);
    this.setServing(false);
  }

  /** What the health service says of the server ('') and of each service; NOT_SERVING until it is told. */
  setServing(serving: boolean): void {
    const status = serving ? 'SERVING' : 'NOT_SERVING';
    for (const name of ['', ...this.options.services.map((service) => service.name)]) this.health.setStatus(name, status);
  }

  /** Resolves with `host:port` once connections are accepted; rejects when the address cannot be had. */
  start(): Promise<string> {
    const host = isIP(this.options.host) === 6 ? `[${this.options.host}]` : this.options.host;
    return new Promise((resolve, reject) => {
      this.server.bindAsync(`${host}:${this.options.port}`, ServerCredentials.createInsecure(), (error, port) => {
        if (error === null) resolve(`${host}:${port}`);
        else reject(error);
      });
    });
  }

  /** Health says NOT_SERVING, clients get GOAWAY, open calls finish within `graceMs`, then connections are cut (GR10). */
  async stop(graceMs: number): Promise<void> {
    if (this.stopped) return;
    this.stopped = true;
    this.setServing(false);
    const timer = setTimeout(() => this.server.forceShutdown(), graceMs);
    await new Promise<void>((resolve) => {
      this.server.tryShutdown((error) => {
        if (error !== undefined) this.options.logger.warn({ err: error }, 'grpc shutdown');
        resolve();
      });
      this.guard.endBuiltinCalls();
      for (const service of this.options.services) service.drain?.();
    });
    clearTimeout(timer);
    this.guard.close();
  }
}

function reflectionOf(services: readonly GrpcService[]): ReflectionService {
  const files = new Set(services.map((service) => service.protoFile));
  const definitions = reflectionDefinitions([...files, healthProtoPath], [PROTO_FOLDER]);
  return new ReflectionService(definitions);
}

/**
 * HTTP/2 settings that grpc-js has no option for: a receive window wide enough for links with a long round trip, and the bound of
 * headers (GR11). Where the library keeps them elsewhere, its defaults stay in force.
 */
function widenHttp2(server: Server): void {
  const { commonServerOptions } = server as unknown as { commonServerOptions?: { settings?: Settings } };
  if (commonServerOptions === undefined) return;
  const own: Settings = { initialWindowSize: STREAM_WINDOW_BYTES, maxHeaderListSize: LIMITS.httpHeaderBytesMax };
  commonServerOptions.settings = { ...commonServerOptions.settings, ...own };
}
