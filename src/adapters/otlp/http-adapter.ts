/**
 * OTLP/HTTP (OTLP specification, "OTLP/HTTP"; rules OH1-OH17): three paths, protobuf and JSON by Content-Type, answers and
 * errors in the encoding of the request.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { gzipSync } from 'node:zlib';
import type { Signal } from '../../core/builtin-tables';
import { IngestError } from '../../core/errors';
import type { Ingest } from '../../core/ingest';
import { LIMITS } from '../../core/limits';
import type { Telemetry } from '../../telemetry';
import { parseAck } from '../ack';
import { type DryRunStores, NO_STORES } from '../dry-run';
import type { HttpAdapter, HttpExchange, HttpReply, HttpRoute } from '../http-contract';
import { IDEMPOTENCY_HEADER, idempotencyOf } from '../idempotency-key';
import { type MediaType, mediaType } from '../media-type';
import { type ReceivedBody, withBody } from '../request-body';
import { RequestMetrics } from '../request-metrics';
import { encodeStatus, encodeStatusJson, STATUS } from '../status';
import { isSet } from '../switch';
import { exportReport } from './dry-run';
import { encodeResponse, encodeResponseJson, withParked } from './response';
import { type OtlpDecoders, SIGNAL_LIST, SIGNALS, wallClockNs } from './signal';

export interface OtlpHttpAdapterOptions {
  readonly ingest: Ingest;
  readonly decoders: OtlpDecoders;
  readonly telemetry: Telemetry;
  /** Limit after decompression; the listener has the one before. */
  readonly bodyBytesMax?: number;
  readonly responseBytesMax?: number;
  /** For dry runs; none by default. */
  readonly stores?: DryRunStores;
  readonly nowNs?: () => bigint;
}

const PROTOBUF = 'application/x-protobuf';
const JSON_TYPE = 'application/json';
/** A shorter answer is not worth the time. */
const GZIP_BYTES_MIN = 1024;

export class OtlpHttpAdapter implements HttpAdapter {
  readonly routes: readonly HttpRoute[];
  private readonly metrics: RequestMetrics;
  private readonly nowNs: () => bigint;

  constructor(private readonly options: OtlpHttpAdapterOptions) {
    this.metrics = new RequestMetrics(options.telemetry, 'otlp_http');
    this.nowNs = options.nowNs ?? wallClockNs;
    this.routes = SIGNAL_LIST.map((signal) => ({
      method: 'POST',
      path: SIGNALS[signal].httpPath,
      handle: (exchange) => this.handle(signal, exchange),
    }));
  }

  claims(path: string, headers: IncomingHttpHeaders): boolean {
    return path.startsWith('/v1') || mediaType(headers['content-type']) === 'protobuf';
  }

  /** OH8: a `google.rpc.Status`, in JSON where the request's encoding is not protobuf. */
  renderError(error: IngestError, headers: IncomingHttpHeaders): HttpReply {
    const status = STATUS[error.code].http;
    return mediaType(headers['content-type']) === 'protobuf'
      ? { status, contentType: PROTOBUF, body: encodeStatus(error) }
      : { status, contentType: JSON_TYPE, body: encodeStatusJson(error) };
  }

  private async handle(signal: Signal, exchange: HttpExchange): Promise<HttpReply> {
    try {
      const type = otlpType(exchange.headers);
      const ack = parseAck(exchange.headers['x-ack'] as string | undefined);
      const dryRun = isSet(exchange.query.get('dry_run'), 'dry_run');
      const limitBytes = this.options.bodyBytesMax ?? LIMITS.requestBytesMax;
      return await withBody(exchange, this.options.ingest, limitBytes, async (received) => {
        this.metrics.received(received.wireBytes);
        const decoded = this.decode(signal, type, received);
        if (dryRun) {
          const report = JSON.stringify(exportReport(decoded, this.options.stores ?? NO_STORES));
          return reply(JSON_TYPE, Buffer.from(report), exchange.headers);
        }
        const key = idempotencyOf(exchange.headers[IDEMPOTENCY_HEADER] as string | undefined, [signal, received.body]);
        const receipt = await this.options.ingest.write({ protocol: 'otlp_http', batches: decoded.batches, ack, ...key });
        this.metrics.acknowledged(decoded, received.receivedAtMs, SIGNALS[signal].table);
        const { responseBytesMax } = this.options;
        const answered = withParked(decoded, receipt);
        return type === 'protobuf'
          ? reply(PROTOBUF, encodeResponse(answered, responseBytesMax), exchange.headers)
          : reply(JSON_TYPE, encodeResponseJson(signal, answered, responseBytesMax), exchange.headers);
      });
    } catch (error) {
      this.metrics.failed(IngestError.from(error).code);
      throw error;
    }
  }

  private decode(signal: Signal, type: MediaType, { body }: ReceivedBody) {
    const decoder = this.options.decoders[signal];
    return decoder.decode(type === 'json' ? decoder.transcode(body) : body, { arrivalNs: this.nowNs() });
  }
}

function otlpType(headers: IncomingHttpHeaders): MediaType {
  const type = mediaType(headers['content-type']);
  if (type === 'protobuf' || type === 'json') return type;
  throw new IngestError('unsupported_media_type', `content-type must be ${PROTOBUF} or ${JSON_TYPE}`);
}

/** OH14: compressed only for a client that asked. */
function reply(contentType: string, body: Buffer, headers: IncomingHttpHeaders): HttpReply {
  if (body.length < GZIP_BYTES_MIN || !acceptsGzip(headers['accept-encoding'])) return { status: 200, contentType, body };
  return {
    status: 200,
    contentType,
    body: gzipSync(body, { level: 1 }),
    headers: ['Content-Encoding', 'gzip', 'Vary', 'Accept-Encoding'],
  };
}

/** Whether gzip is named with a weight above 0 (RFC 9110 section 12.5.3); `*` alone is no wish for gzip. */
function acceptsGzip(header: string | string[] | undefined): boolean {
  if (header === undefined) return false;
  return String(header)
    .split(',')
    .some((item) => /^\s*(x-)?gzip\s*(;\s*q\s*=\s*(1(\.0*)?|0?\.\d*[1-9]\d*)\s*)?$/i.test(item));
}
