/**
 * Bytes of gRPC messages that are still arriving, over all calls: grpc-js keeps each of them until it is whole, and of a stream also
 * whole ones that its handler has not taken yet. Where they add up to more than `bytesMax`, calls are not read (HTTP/2 flow control
 * holds their clients), so that what is there is bounded by `bytesMax` and one message.
 *
 * - A frame that is there already is always handed on, so small messages never wait.
 * - The call whose message began first may go on above the bound: somebody can always finish.
 * - At most `waitingMax` calls wait; more are ended at once.
 * - While calls wait, a message that gets no further for `stallMs` is ended, and so is a call that has waited for `waitMs`, or
 *   holds whole messages for so long: UNAVAILABLE with a hint when to come back. Without pressure clients may be slow. A call that
 *   waits is read for one frame after a while, to find those that have nothing to send: they must not stand in the queue.
 */
import { IngestError } from '../core/errors';

const PREFIX_BYTES = 5;
const RETRY_AFTER_MS = 1_000;
/** What a call that goes on may bring at once: an HTTP/2 window. */
const STEP_BYTES = 1024 * 1024;

export interface ArrivingOptions {
  readonly bytesMax: number;
  /** Longest message. */
  readonly messageBytesMax: number;
  readonly waitMs: number;
  readonly stallMs: number;
  /** Calls that wait at once: HTTP/2 may have a window full of each. */
  readonly waitingMax: number;
}

/** The side of the connection. */
export interface ArrivingSource {
  pause(): void;
  /** Must not read on while the library does not want the next message. */
  resume(): void;
  /** Ends the call with this status. */
  refuse(error: IngestError): void;
}

export class ArrivingBytes {
  usedBytes = 0;
  /** Of these in messages that are whole. */
  wholeBytes = 0;
  /** By the order of their calls; the leader is found by the start of its message. */
  private readonly calls = new Set<ArrivingMessages>();
  private readonly waiting = new Set<ArrivingMessages>();
  /** Of messages that are being unpacked: as much as each may become. */
  private reservedBytes = 0;
  private readonly unpacking: { readonly sizeBytes: number; readonly go: () => void }[] = [];

  constructor(private readonly options: ArrivingOptions) {}

  /** `holds`: whole messages count until they are taken. */
  open(source: ArrivingSource, holds: boolean): ArrivingMessages {
    const call = new ArrivingMessages(this, source, holds);
    this.calls.add(call);
    return call;
  }

  close(call: ArrivingMessages): void {
    this.calls.delete(call);
    this.waiting.delete(call);
    this.relieve();
  }

  /** Pauses a call when there is no room for more of it. */
  check(call: ArrivingMessages): void {
    const { bytesMax, waitingMax } = this.options;
    // Between messages the library waits for the handler anyway.
    if (!call.isPartial || this.usedBytes <= bytesMax || this.mayExceed(call)) return;
    if (this.waiting.has(call)) {
      if (call.isTried) call.source.pause();
      call.isTried = false;
      call.hasMore = true;
      return;
    }
    if (this.waiting.size >= waitingMax) {
      this.refuse(call);
      return;
    }
    call.waitingSinceMs = performance.now();
    this.waiting.add(call);
    call.source.pause();
  }

  /** Something was given back. */
  relieve(): void {
    const { bytesMax } = this.options;
    for (let [next] = this.unpacking; next !== undefined && this.hasRoom(next.sizeBytes); [next] = this.unpacking) {
      this.unpacking.shift();
      this.reserveNow(next.sizeBytes);
      next.go();
    }
    if (this.waiting.size === 0) return;
    const leader = this.leader();
    if (leader !== undefined && this.waiting.has(leader) && this.mayExceed(leader)) this.resume(leader);
    // The oldest messages first, as many as can go a step: the others would only be paused again.
    let roomBytes = bytesMax - this.usedBytes;
    if (roomBytes < 0) return;
    for (const call of [...this.waiting].sort((a, b) => a.startedAtMs - b.startedAtMs)) {
      roomBytes -= Math.min(call.missingBytes, STEP_BYTES);
      if (roomBytes < 0) break;
      this.resume(call);
    }
  }

  /** Resolves with `sizeBytes` reserved, for what a message may become when it is unpacked. Throws IngestError `unavailable`. */
  async reserve(sizeBytes: number): Promise<void> {
    if (this.unpacking.length === 0 && this.hasRoom(sizeBytes)) {
      this.reserveNow(sizeBytes);
      return;
    }
    let timer: NodeJS.Timeout | undefined;
    const isReserved = await new Promise<boolean>((resolve) => {
      const waiting = { sizeBytes, go: () => resolve(true) };
      this.unpacking.push(waiting);
      timer = setTimeout(() => {
        const at = this.unpacking.indexOf(waiting);
        if (at >= 0) this.unpacking.splice(at, 1);
        resolve(at < 0);
      }, this.options.waitMs);
    });
    clearTimeout(timer);
    if (!isReserved) throw full();
  }

  /** Ends a reservation, of which the message keeps `keptBytes`. */
  settle(sizeBytes: number, keptBytes: number): void {
    this.reservedBytes -= sizeBytes;
    this.usedBytes -= sizeBytes - keptBytes;
    this.relieve();
  }

  private reserveNow(sizeBytes: number): void {
    this.reservedBytes += sizeBytes;
    this.usedBytes += sizeBytes;
  }

  /** Ends what holds others up. To be called from time to time. */
  endStalled(nowMs = performance.now()): void {
    if (this.waiting.size === 0) return;
    const { waitMs, stallMs } = this.options;
    for (const call of this.calls) {
      const isWaiting = this.waiting.has(call);
      const waits = isWaiting && nowMs - call.waitingSinceMs > waitMs;
      const isIdle = call.isPartial && nowMs - call.lastByteAtMs > stallMs;
      const holds = call.wholeBytes > 0 && nowMs - call.wholeSinceMs > waitMs;
      if (waits || holds || (isIdle && (!isWaiting || call.isTried))) this.refuse(call);
      else if (isIdle && isWaiting && !call.hasMore) this.tryRead(call, nowMs);
    }
  }

  /** It is not read any more, and its bytes count until it is closed. */
  private refuse(call: ArrivingMessages): void {
    this.waiting.delete(call);
    call.refuse(full());
  }

  private tryRead(call: ArrivingMessages, nowMs: number): void {
    call.isTried = true;
    call.lastByteAtMs = nowMs;
    call.source.resume();
  }

  /** One message may always be unpacked where the bound is kept before. */
  private hasRoom(sizeBytes: number): boolean {
    const { bytesMax } = this.options;
    return this.usedBytes + sizeBytes <= bytesMax || (this.reservedBytes === 0 && this.usedBytes <= bytesMax);
  }

  private resume(call: ArrivingMessages): void {
    this.waiting.delete(call);
    call.isTried = false;
    call.hasMore = false;
    call.lastByteAtMs = performance.now();
    call.source.resume();
  }

  private mayExceed(call: ArrivingMessages): boolean {
    const { bytesMax, messageBytesMax } = this.options;
    return (this.wholeBytes === 0 || this.usedBytes <= bytesMax + messageBytesMax) && this.leader() === call;
  }

  /** The call whose unfinished message began first. */
  private leader(): ArrivingMessages | undefined {
    let leader: ArrivingMessages | undefined;
    for (const call of this.calls) {
      if (call.isPartial && !call.isOver && (leader === undefined || call.startedAtMs < leader.startedAtMs)) leader = call;
    }
    return leader;
  }
}

const full = (): IngestError =>
  new IngestError('unavailable', 'too many bytes of unfinished messages', { retryAfterMs: RETRY_AFTER_MS });

/** A message that is there and counts. */
export interface WholeMessage {
  sizeBytes: number;
}

/** The messages of one call. */
export class ArrivingMessages {
  /** Of the message that is not whole yet. */
  isPartial = false;
  /** Known when the prefix is there. */
  missingBytes = 0;
  startedAtMs = 0;
  lastByteAtMs = 0;
  waitingSinceMs = 0;
  /** Waits, but is read for one frame. */
  isTried = false;
  /** It waited, was tried, and had more. */
  hasMore = false;
  /** Of whole messages that nobody has taken. */
  wholeBytes = 0;
  wholeSinceMs = 0;
  /** Told in place of the source, when there is a handler that wants to end the call itself. */
  onRefused: ((error: IngestError) => void) | undefined;
  private isRefused = false;
  private isClosed = false;
  /** Messages that nobody has taken, and those of them that are not unpacked. */
  private readonly whole: WholeMessage[] = [];
  private readonly packed: WholeMessage[] = [];
  private readonly prefix = Buffer.alloc(PREFIX_BYTES);
  private prefixBytes = 0;
  private partialBytes = 0;

  constructor(
    private readonly budget: ArrivingBytes,
    readonly source: ArrivingSource,
    private readonly holds: boolean,
  ) {}

  /** Counts a frame, before it is handed on. */
  add(data: Buffer): void {
    if (this.isClosed) return;
    const { length } = this.whole;
    const nowMs = performance.now();
    this.lastByteAtMs = nowMs;
    this.budget.usedBytes += data.length;
    for (let at = 0; at < data.length; ) at = this.step(data, at, nowMs);
    this.isPartial = this.partialBytes > 0;
    this.budget.check(this);
    if (this.whole.length > length) this.budget.relieve();
  }

  /** The handler has the first whole message and counts it itself. */
  taken(): void {
    const message = this.whole.shift();
    if (message === undefined) return;
    this.countWhole(-message.sizeBytes);
    this.wholeSinceMs = performance.now();
    this.budget.usedBytes -= message.sizeBytes;
    this.budget.relieve();
  }

  /** The next message that the library unpacks; undefined when they do not count. */
  nextPacked(): WholeMessage | undefined {
    return this.packed.shift();
  }

  /** Unpacks a message of at most `sizeBytesMax` bytes when there is room. Throws what `unpack` throws, and IngestError `unavailable`. */
  async unpack(message: WholeMessage, sizeBytesMax: number, unpack: () => Buffer | Promise<Buffer>): Promise<Buffer> {
    await this.budget.reserve(sizeBytesMax);
    let keptBytes = 0;
    try {
      const plain = await unpack();
      if (!this.isClosed) keptBytes = plain.length;
      message.sizeBytes += keptBytes;
      this.countWhole(keptBytes);
      return plain;
    } finally {
      this.budget.settle(sizeBytesMax, keptBytes);
    }
  }

  get isOver(): boolean {
    return this.isRefused || this.isClosed;
  }

  refuse(error: IngestError): void {
    if (this.isRefused) return;
    this.isRefused = true;
    if (this.onRefused === undefined) this.source.refuse(error);
    else this.onRefused(error);
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.budget.usedBytes -= this.partialBytes + this.wholeBytes;
    this.isPartial = false;
    this.partialBytes = 0;
    this.countWhole(-this.wholeBytes);
    this.whole.length = 0;
    this.packed.length = 0;
    this.budget.close(this);
  }

  private countWhole(bytes: number): void {
    this.wholeBytes += bytes;
    this.budget.wholeBytes += bytes;
  }

  /** Goes on in the frame; gives the position behind what was read. */
  private step(data: Buffer, at: number, nowMs: number): number {
    if (this.partialBytes === 0) this.startedAtMs = nowMs;
    if (this.prefixBytes < PREFIX_BYTES) {
      const count = data.copy(this.prefix, this.prefixBytes, at, at + PREFIX_BYTES - this.prefixBytes);
      this.prefixBytes += count;
      this.partialBytes += count;
      if (this.prefixBytes === PREFIX_BYTES) this.missingBytes = this.prefix.readUInt32BE(1);
      if (this.prefixBytes === PREFIX_BYTES && this.missingBytes === 0) this.finish(nowMs);
      return at + count;
    }
    const count = Math.min(this.missingBytes, data.length - at);
    this.missingBytes -= count;
    this.partialBytes += count;
    if (this.missingBytes === 0) this.finish(nowMs);
    return at + count;
  }

  private finish(nowMs: number): void {
    const sizeBytes = this.partialBytes;
    this.partialBytes = 0;
    this.prefixBytes = 0;
    if (!this.holds) {
      this.budget.usedBytes -= sizeBytes;
      return;
    }
    if (this.whole.length === 0) this.wholeSinceMs = nowMs;
    const message = { sizeBytes };
    this.whole.push(message);
    this.packed.push(message);
    this.countWhole(sizeBytes);
  }
}
