import { ArrivingBytes, type ArrivingMessages } from '../../../src/adapters/grpc-arriving';
import type { IngestError } from '../../../src/core/errors';

const KB = 1024;

class Call {
  paused = false;
  refusal: IngestError | undefined;
  readonly messages: ArrivingMessages;

  constructor(budget: ArrivingBytes, holds = true) {
    this.messages = budget.open(
      {
        pause: () => {
          this.paused = true;
        },
        resume: () => {
          this.paused = false;
        },
        refuse: (error) => {
          this.refusal = error;
        },
      },
      holds,
    );
  }

  /** The prefix of a message of `sizeBytes`, and `sentBytes` of it. */
  begin(sizeBytes: number, sentBytes: number): void {
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(sizeBytes, 1);
    this.messages.add(Buffer.concat([prefix, Buffer.alloc(sentBytes)]));
  }

  more(sentBytes: number): void {
    this.messages.add(Buffer.alloc(sentBytes));
  }
}

const budgetOf = (bytesMax: number, waitingMax = 100): ArrivingBytes =>
  new ArrivingBytes({ bytesMax, messageBytesMax: 100 * KB, waitMs: 30_000, stallMs: 5_000, waitingMax });

describe('bytes of messages that arrive', () => {
  it('are counted from frame to frame, however these cut the messages, and given back when a message is taken', () => {
    const budget = budgetOf(1_000 * KB);
    const call = new Call(budget);
    const message = (size: number): Buffer => Buffer.concat([Buffer.from([0, 0, 0, size >> 8, size & 255]), Buffer.alloc(size)]);
    const bytes = Buffer.concat([message(0), message(300), message(7), message(1_000)]);
    for (let at = 0; at < bytes.length; at += 3) call.messages.add(bytes.subarray(at, at + 3));
    expect(budget.usedBytes).toBe(bytes.length);
    for (const left of [1_322, 1_017, 1_005, 0]) {
      call.messages.taken();
      expect(budget.usedBytes).toBe(left);
    }
    call.messages.taken();
    expect([budget.usedBytes, call.messages.isPartial]).toEqual([0, false]);
  });

  it('of calls whose handlers take nothing count until their message is whole', () => {
    const budget = budgetOf(1_000 * KB);
    const call = new Call(budget, false);
    call.begin(300, 200);
    expect(budget.usedBytes).toBe(205);
    call.more(100);
    expect(budget.usedBytes).toBe(0);
  });

  it('over the bound hold every call back but the one whose message began first, which may finish', () => {
    const budget = budgetOf(100 * KB);
    const [first, second, third] = [new Call(budget), new Call(budget), new Call(budget)];
    first.begin(90 * KB, 40 * KB);
    second.begin(90 * KB, 40 * KB);
    third.begin(90 * KB, 40 * KB);
    expect([first.paused, second.paused, third.paused]).toEqual([false, false, true]);
    second.more(1);
    first.more(50 * KB);
    expect([first.paused, second.paused, third.paused]).toEqual([false, false, true]);
    first.messages.taken();
    // Half of what is left of the third would not have room.
    expect([second.paused, third.paused]).toEqual([false, true]);
    second.more(50 * KB - 1);
    second.messages.taken();
    expect(third.paused).toBe(false);
    expect(budget.usedBytes).toBe(40 * KB + 5);
  });

  it('never add up to more than the bound and one message, with frames on their way', () => {
    const budget = budgetOf(100 * KB);
    const calls = Array.from({ length: 50 }, () => new Call(budget));
    for (const call of calls) call.begin(64 * KB, KB);
    let peakBytes = 0;
    for (let round = 0; round < 200; round++) {
      for (const call of calls) if (!call.paused && call.messages.isPartial) call.more(KB);
      peakBytes = Math.max(peakBytes, budget.usedBytes);
    }
    expect(peakBytes).toBeLessThan(100 * KB + 100 * KB + 50 * KB);
    // With handlers that take, everybody finishes.
    for (let round = 0; round < 20_000 && calls.some(({ messages }) => messages.isPartial); round++) {
      for (const call of calls) {
        if (!call.paused && call.messages.isPartial) call.more(KB);
        if (call.messages.wholeBytes > 0) call.messages.taken();
      }
    }
    for (const call of calls) call.messages.taken();
    expect(budget.usedBytes).toBe(0);
  });

  it('that get no further are ended with a hint while others wait, and only then', () => {
    const budget = budgetOf(100 * KB);
    const later = performance.now() + 6_000;
    const stalled = new Call(budget);
    stalled.begin(90 * KB, 80 * KB);
    budget.endStalled(later);
    expect(stalled.refusal).toBeUndefined();
    const waiting = new Call(budget);
    waiting.begin(90 * KB, 80 * KB);
    expect(waiting.paused).toBe(true);
    budget.endStalled(later);
    expect(stalled.refusal).toMatchObject({ code: 'unavailable', retryAfterMs: 1_000 });
    expect(waiting.refusal).toBeUndefined();
    stalled.messages.close();
    expect([waiting.paused, budget.usedBytes]).toEqual([false, 80 * KB + 5]);
  });

  it('of calls that wait are tried from time to time: who has nothing to send is ended, who has keeps its place', () => {
    const budget = budgetOf(100 * KB);
    const [lazy, idle, busy] = [new Call(budget), new Call(budget), new Call(budget)];
    lazy.begin(1 * KB, 1 * KB);
    for (const call of [idle, busy]) call.begin(200 * KB, 60 * KB);
    const other = new Call(budget);
    other.begin(200 * KB, 60 * KB);
    expect([idle, busy, other].map(({ paused }) => paused)).toEqual([false, true, true]);
    idle.more(1);
    const startMs = performance.now();
    idle.messages.lastByteAtMs = startMs + 5_000;
    budget.endStalled(startMs + 5_001);
    expect([busy, other].map(({ paused }) => paused)).toEqual([false, false]);
    busy.more(KB);
    expect([busy, other].map(({ paused }) => paused)).toEqual([true, false]);
    budget.endStalled(startMs + 10_100);
    expect([busy, other].map(({ refusal }) => refusal?.code)).toEqual([undefined, 'unavailable']);
  });

  it('that have waited long enough, or that a handler does not take, are ended with a hint', () => {
    const budget = budgetOf(100 * KB);
    const lazy = new Call(budget);
    lazy.begin(90 * KB, 90 * KB);
    const waiting = new Call(budget);
    waiting.begin(90 * KB, 80 * KB);
    const behind = new Call(budget);
    behind.begin(90 * KB, 80 * KB);
    let told: IngestError | undefined;
    behind.messages.onRefused = (error) => {
      told = error;
    };
    budget.endStalled(performance.now() + 31_000);
    expect([lazy.refusal?.code, told?.code, behind.refusal]).toEqual(['unavailable', 'unavailable', undefined]);
    for (const call of [lazy, waiting, behind]) call.messages.close();
    expect(budget.usedBytes).toBe(0);
  });

  it('of more calls than may wait are ended at once', () => {
    const budget = budgetOf(100 * KB, 1);
    const calls = Array.from({ length: 4 }, () => new Call(budget));
    for (const call of calls) call.begin(90 * KB, 60 * KB);
    expect(calls.map(({ paused }) => paused)).toEqual([false, true, false, false]);
    expect(calls.map(({ refusal }) => refusal?.code)).toEqual([undefined, undefined, 'unavailable', 'unavailable']);
  });

  it('that are unpacked count as what they become, one at a time where there is no room for all', async () => {
    const budget = budgetOf(120 * KB);
    const calls = [new Call(budget), new Call(budget)];
    const gates: ((plain: Buffer) => void)[] = [];
    const results = calls.map(async (call) => {
      call.begin(10, 10);
      const message = call.messages.nextPacked();
      if (message === undefined) throw new Error('the message does not count');
      return call.messages.unpack(message, 100 * KB, () => new Promise((resolve) => gates.push(resolve)));
    });
    await Promise.resolve();
    expect(gates).toHaveLength(1);
    gates[0](Buffer.alloc(5 * KB));
    await results[0];
    expect(budget.usedBytes).toBe(5 * KB + 30 + 100 * KB);
    calls[1].messages.close();
    gates[1](Buffer.alloc(50 * KB));
    await results[1];
    expect(budget.usedBytes).toBe(5 * KB + 15);
    calls[0].messages.taken();
    expect(budget.usedBytes).toBe(0);
  });
});
