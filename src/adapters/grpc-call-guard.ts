/**
 * What grpc-js does not do for a call, done around its server call object:
 *
 * - compression by the rules (GR5, GR6): grpc-js takes a compressed message without `grpc-encoding` as it is, and does not name the
 *   encodings it knows when it refuses one. Small messages are unpacked without the thread pool.
 * - admission while a message arrives, from the length in its prefix, instead of after up to 64 MiB have been buffered;
 * - a bound for the messages of streams, and of calls that are not admitted, while they arrive (grpc-arriving.ts);
 * - an end for calls whose message never becomes complete;
 * - a receive window that lets large messages come in without waiting for the client's next turn;
 * - RST_STREAM(NO_ERROR) after an early answer (GR8), so that the client stops sending what nobody will read.
 *
 * It uses fields of grpc-js 1.14 that are not part of its interface. Where they are missing, calls run as grpc-js runs them and
 * `onUnguarded` is told once; the tests of GR5, GR6 and GR8 notice.
 */
import type { ServerHttp2Stream } from 'node:http2';
import type { Metadata, ServerInterceptingCall, ServerInterceptor } from '@grpc/grpc-js';
import { IngestError } from '../core/errors';
import type { Ingest } from '../core/ingest';
import { LIMITS } from '../core/limits';
import { clientOfAddress } from './client-key';
import { decompress } from './decompress';
import { GrowingAdmission } from './growing-admission';
import { ArrivingBytes, type ArrivingMessages, type WholeMessage } from './grpc-arriving';
import type { GrpcService } from './grpc-contract';
import { grpcStatus, StatusMetadata } from './grpc-status';

/** The inside of grpc-js's BaseServerInterceptingCall that is used here. */
interface ServerCall {
  readonly stream: ServerHttp2Stream;
  readonly metadata: Metadata;
  readonly receivedHalfClose: boolean;
  /** Does it want the next message? */
  readonly isReadPending?: boolean;
  handleDataFrame: (this: ServerCall, data: Buffer) => void;
  decompressMessage: (this: ServerCall, message: Buffer, encoding: string) => Buffer | Promise<Buffer>;
  sendStatus: (this: ServerCall, status: ReturnType<typeof grpcStatus>) => void;
}

/** Compressed flag and length. */
const PREFIX_BYTES = 5;
/** See http-body.ts. */
const FIRST_RESERVATION_BYTES = 1024 * 1024;
const NO_ERROR = 0;
/** Of one stream, see grpc-listener.ts. */
export const STREAM_WINDOW_BYTES = 1024 * 1024;
const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;
const BUILTIN_SERVICES = '/grpc.';

const admissions = new WeakMap<Metadata, ArrivingMessage>();

/** The room reserved for a call's message. The caller must release it. Undefined for a call that is not guarded. */
export function takeAdmission(metadata: Metadata): GrowingAdmission | undefined {
  return admissions.get(metadata)?.take();
}

const streams = new WeakMap<Metadata, ArrivingMessages>();

/** What the handler of a stream must tell: `taken` for each message; and may be told. Undefined for a call that is not guarded. */
export function arrivingOf(metadata: Metadata): Pick<ArrivingMessages, 'taken' | 'onRefused'> | undefined {
  return streams.get(metadata);
}

/** The message of one unary call while it arrives, and its room until the handler takes it. */
class ArrivingMessage {
  readonly admission: GrowingAdmission;
  /** Bytes with the prefix; unknown before the prefix is whole. */
  expectedBytes = Number.POSITIVE_INFINITY;
  receivedBytes = 0;
  private reservedBytes = 0;
  private taken = false;
  private readonly prefix = Buffer.alloc(PREFIX_BYTES);

  constructor(
    ingest: Ingest,
    readonly call: ServerCall,
    readonly startedAtMs: number,
  ) {
    this.admission = new GrowingAdmission(ingest, clientOfAddress(call.stream.session?.socket?.remoteAddress));
  }

  /** Throws IngestError `unavailable` when there is no room for what comes. */
  add(data: Buffer): void {
    if (this.receivedBytes < PREFIX_BYTES) {
      data.copy(this.prefix, this.receivedBytes);
      if (this.receivedBytes + data.length >= PREFIX_BYTES) this.expectedBytes = PREFIX_BYTES + this.prefix.readUInt32BE(1);
    }
    this.receivedBytes += data.length;
    if (this.reservedBytes !== 0 && this.receivedBytes <= this.reservedBytes) return;
    const step = Math.max(FIRST_RESERVATION_BYTES, this.reservedBytes * 2, this.receivedBytes);
    this.reservedBytes = Math.min(step, Math.max(this.expectedBytes, this.receivedBytes));
    this.admission.reserve(this.reservedBytes);
  }

  take(): GrowingAdmission {
    this.taken = true;
    return this.admission;
  }

  releaseUnlessTaken(): void {
    if (!this.taken) this.admission.release();
  }
}

export interface GrpcCallGuardOptions {
  readonly services: readonly GrpcService[];
  readonly messageBytesMax: number;
  /** From the start of a call to the end of its message. */
  readonly requestTimeoutMs: number;
  /** Bytes of messages of streams that are not whole or not taken by their handlers, over all calls. */
  readonly arrivingBytesMax: number;
  /** Longest wait for room for them, and for the next byte of one while others wait. */
  readonly arrivingWaitMs: number;
  readonly arrivingStallMs: number;
  readonly onUnguarded: () => void;
  /** A call ended with `internal` because of this. */
  readonly onBug: (path: string, cause: unknown) => void;
}

export class GrpcCallGuard {
  readonly interceptor: ServerInterceptor;
  private readonly byMethod = new Map<string, NonNullable<GrpcService['admission']>>();
  private readonly arriving = new Set<ArrivingMessage>();
  private readonly streamed: ArrivingBytes;
  /** Streams whose handlers take their messages one by one. */
  private readonly streamMethods = new Set<string>();
  private readonly sessions = new WeakSet<object>();
  private readonly heldStreams = new WeakSet<ServerHttp2Stream>();
  private readonly heldBySession = new WeakMap<object, number>();
  private readonly builtinCalls = new Set<ServerCall>();
  private readonly timer: NodeJS.Timeout;
  private toldUnguarded = false;

  constructor(private readonly options: GrpcCallGuardOptions) {
    for (const { definition, admission } of options.services) {
      for (const method of Object.values(definition)) {
        // The messages of a stream are for its handler to admit, one by one.
        if (method.requestStream) this.streamMethods.add(method.path);
        else if (admission !== undefined) this.byMethod.set(method.path, admission);
      }
    }
    this.streamed = new ArrivingBytes({
      bytesMax: options.arrivingBytesMax,
      messageBytesMax: options.messageBytesMax,
      waitMs: options.arrivingWaitMs,
      stallMs: options.arrivingStallMs,
      waitingMax: LIMITS.arrivingCallsMax,
    });
    this.interceptor = (method, call) => {
      this.guard(method.path, call);
      return call as ServerInterceptingCall;
    };
    const intervalMs = Math.min(options.requestTimeoutMs, options.arrivingStallMs) / 4;
    this.timer = setInterval(() => this.endSlow(), Math.max(50, Math.min(intervalMs, 2_500)));
    this.timer.unref();
  }

  /** Ends health watches and reflection calls, which would hold a stop up for ever. */
  endBuiltinCalls(): void {
    for (const call of this.builtinCalls) call.sendStatus(grpcStatus(new IngestError('unavailable', 'server is stopping')));
  }

  close(): void {
    clearInterval(this.timer);
  }

  private guard(path: string, given: unknown): void {
    const call = given as ServerCall;
    if (typeof call.decompressMessage !== 'function' || typeof call.handleDataFrame !== 'function' || call.stream === undefined) {
      if (!this.toldUnguarded) this.options.onUnguarded();
      this.toldUnguarded = true;
      return;
    }
    this.widenSession(call);
    const admission = this.byMethod.get(path);
    this.watchStatus(path, call);
    if (admission !== undefined) this.watch(call, admission);
    const streamed = admission === undefined ? this.watchStream(call, this.streamMethods.has(path)) : undefined;
    call.decompressMessage = (message, encoding) => {
      const held = streamed?.nextPacked();
      return this.unpack(message, encoding, { admission, held, streamed });
    };
    if (path.startsWith(BUILTIN_SERVICES)) {
      this.builtinCalls.add(call);
      call.stream.once('close', () => this.builtinCalls.delete(call));
    }
  }

  /** The receive window of a connection is for the server to open; Node leaves it at 64 KB. */
  private widenSession({ stream }: ServerCall): void {
    const { session } = stream;
    if (session === undefined || this.sessions.has(session)) return;
    this.sessions.add(session);
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
  }

  /** What lies in the window of a call that is held back must not take room from the other calls of its connection. */
  private held(stream: ServerHttp2Stream, isHeld: boolean): void {
    if (this.heldStreams.has(stream) === isHeld) return;
    if (isHeld) this.heldStreams.add(stream);
    else this.heldStreams.delete(stream);
    const { session } = stream;
    if (session === undefined || session.destroyed) return;
    const count = (this.heldBySession.get(session) ?? 0) + (isHeld ? 1 : -1);
    this.heldBySession.set(session, count);
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES + count * STREAM_WINDOW_BYTES);
  }

  /** GR8: a status sent before the client's end is followed by RST_STREAM(NO_ERROR). */
  private watchStatus(path: string, call: ServerCall): void {
    const sendStatus = call.sendStatus;
    call.sendStatus = (status) => {
      const reason = status.metadata instanceof StatusMetadata ? status.metadata.reason : undefined;
      if (reason?.code === 'internal' && reason.cause !== undefined) this.options.onBug(path, reason.cause);
      const { stream } = call;
      const hasAnswered = stream.headersSent;
      sendStatus.call(call, status);
      if (call.receivedHalfClose || stream.destroyed) return;
      // In a turn of its own: Node 22 would send the reset instead of the trailers that were queued in this one.
      const reset = (): void => {
        setImmediate(() => {
          if (!stream.destroyed) stream.close(NO_ERROR);
        });
      };
      // After messages the trailers come when these are written out.
      if (hasAnswered) stream.once('wantTrailers', reset);
      else reset();
    };
  }

  private watch(call: ServerCall, { ingest, refused }: NonNullable<GrpcService['admission']>): void {
    const message = new ArrivingMessage(ingest, call, performance.now());
    admissions.set(call.metadata, message);
    this.arriving.add(message);
    const handleDataFrame = call.handleDataFrame;
    let refusedBefore = false;
    call.handleDataFrame = (data) => {
      if (refusedBefore) return;
      try {
        message.add(data);
      } catch (reason) {
        const error = IngestError.from(reason);
        refusedBefore = true;
        this.arriving.delete(message);
        call.sendStatus(grpcStatus(error));
        refused(error);
        return;
      }
      if (message.receivedBytes >= message.expectedBytes) this.arriving.delete(message);
      handleDataFrame.call(call, data);
    };
    call.stream.once('close', () => {
      this.arriving.delete(message);
      message.releaseUnlessTaken();
    });
  }

  /** `holds`: whole messages count until the handler takes them. */
  private watchStream(call: ServerCall, holds: boolean): ArrivingMessages {
    const { stream } = call;
    const source = {
      pause: () => {
        stream.pause();
        this.held(stream, true);
      },
      resume: () => {
        this.held(stream, false);
        if (call.isReadPending !== false) stream.resume();
      },
      refuse: (error: IngestError) => call.sendStatus(grpcStatus(error)),
    };
    const messages = this.streamed.open(source, holds);
    streams.set(call.metadata, messages);
    const handleDataFrame = call.handleDataFrame;
    call.handleDataFrame = (data) => {
      if (messages.isOver) return;
      messages.add(data);
      handleDataFrame.call(call, data);
    };
    stream.once('close', () => {
      messages.close();
      this.held(stream, false);
    });
    return messages;
  }

  /** In place of grpc-js's own: what it throws or rejects with is sent as the call's status. */
  private unpack(message: Buffer, encoding: string, { admission, held, streamed }: UnpackContext): Buffer | Promise<Buffer> {
    const payload = message.subarray(PREFIX_BYTES);
    if (message[0] === 0) return payload;
    const fail = (reason: unknown): never => {
      const error = IngestError.from(reason);
      admission?.refused(error);
      throw grpcStatus(error);
    };
    try {
      const { messageBytesMax } = this.options;
      const type = compression(encoding);
      const unpacked = (): Buffer | Promise<Buffer> => decompress(type, payload, messageBytesMax);
      const plain = held === undefined ? unpacked() : (streamed?.unpack(held, messageBytesMax, unpacked) ?? unpacked());
      return Buffer.isBuffer(plain) ? plain : plain.catch(fail);
    } catch (reason) {
      return fail(reason);
    }
  }

  private endSlow(): void {
    this.streamed.endStalled();
    if (this.arriving.size === 0) return;
    const startedBeforeMs = performance.now() - this.options.requestTimeoutMs;
    for (const message of this.arriving) {
      // Calls are in the order of their start.
      if (message.startedAtMs > startedBeforeMs) return;
      this.arriving.delete(message);
      message.call.sendStatus(grpcStatus(new IngestError('deadline_exceeded', 'the request took too long to arrive')));
    }
  }
}

interface UnpackContext {
  readonly admission: GrpcService['admission'];
  readonly held: WholeMessage | undefined;
  readonly streamed: ArrivingMessages | undefined;
}

/** grpc/doc/compression.md: an unknown encoding is UNIMPLEMENTED, a compressed message without one is INTERNAL. */
function compression(encoding: string): 'gzip' | 'deflate' {
  if (encoding === 'gzip' || encoding === 'deflate') return encoding;
  if (encoding === 'identity') throw new IngestError('internal', 'compressed message without grpc-encoding');
  throw new IngestError('unsupported_encoding', 'grpc-encoding must be one of identity, deflate, gzip');
}
