import { IngestError } from '../../src/core/errors';
import type { AckLevel, Protocol } from '../../src/core/ingest';
import { Gate } from '../support/gate';
import { RecordingIngest } from '../support/recording-ingest';

/** What a client of any protocol can tell from an answer. */
export interface AdapterAnswer {
  readonly outcome: 'ok' | 'partial' | 'invalid' | 'too_large' | 'unavailable' | 'internal';
  /** Exact count of rejected rows, where the answer has one. */
  readonly rejected?: number | undefined;
  readonly message?: string | undefined;
  /** What the answer says about when to retry. */
  readonly retryAfterMs?: number | undefined;
  /** Would a client of the protocol send the same request again. */
  readonly retryable: boolean;
}

export interface RunningAdapter {
  send(body: Uint8Array, options?: { ack?: string }): Promise<AdapterAnswer>;
  stop(graceMs: number): Promise<void>;
}

export interface AdapterSubject {
  readonly protocol: Protocol;
  start(ingest: RecordingIngest, bodyBytesMax: number): Promise<RunningAdapter>;
  readonly table: string;
  rows(count: number): Uint8Array;
  /** A body with two good rows and one bad row. */
  readonly oneOfThreeBad: Uint8Array;
  readonly empty: Uint8Array;
  readonly garbage: Uint8Array;
}

const LIMIT = 256 * 1024;

/** What every adapter must do, whatever it speaks. */
export function registerAdapterContractTests(name: string, subject: AdapterSubject): void {
  describe(`adapter contract: ${name}`, () => {
    let ingest: RecordingIngest;
    let adapter: RunningAdapter;

    beforeEach(async () => {
      ingest = new RecordingIngest();
      adapter = await subject.start(ingest, LIMIT);
    });
    afterEach(async () => {
      await adapter.stop(1_000);
      expect(ingest.inFlightBytes).toBe(0);
    });

    it('writes every row of a good request once and reports full success', async () => {
      expect(await adapter.send(subject.rows(5))).toEqual({ outcome: 'ok', retryable: false });
      expect(ingest.rows()).toEqual({ [subject.table]: 5 });
      expect(ingest.writes[0]).toMatchObject({ protocol: subject.protocol, ack: 'wal' });
      expect(ingest.peakInFlightBytes).toBeGreaterThan(0);
    });

    it('writes the good rows of a request with a bad one and says how many and why', async () => {
      const answer = await adapter.send(subject.oneOfThreeBad);
      expect(answer).toMatchObject({ outcome: 'partial', rejected: 1, retryable: false });
      expect(answer.message).toMatch(/row/);
      expect(ingest.rows()).toEqual({ [subject.table]: 2 });
    });

    it('accepts a request without rows', async () => {
      expect(await adapter.send(subject.empty)).toMatchObject({ outcome: 'ok' });
      expect(ingest.writes).toEqual([]);
    });

    it('refuses bytes that are not a request, for good', async () => {
      expect(await adapter.send(subject.garbage)).toMatchObject({ outcome: 'invalid', retryable: false });
      expect(ingest.writes).toEqual([]);
    });

    it('refuses a request over the size limit, for good and without a hint to retry', async () => {
      const answer = await adapter.send(Buffer.alloc(LIMIT + 1, ' '));
      expect(answer).toMatchObject({ outcome: 'too_large', retryable: false });
      expect(answer.retryAfterMs).toBeUndefined();
      expect(ingest.writes).toEqual([]);
    });

    it('passes the wished ack level on and refuses an unknown one', async () => {
      for (const ack of ['hot', 'cold', 'all'] satisfies AckLevel[]) {
        expect(await adapter.send(subject.rows(1), { ack })).toMatchObject({ outcome: 'ok' });
      }
      expect(ingest.writes.map(({ ack }) => ack)).toEqual(['hot', 'cold', 'all']);
      expect(await adapter.send(subject.rows(1), { ack: 'maybe' })).toMatchObject({ outcome: 'invalid' });
      expect(ingest.writes).toHaveLength(3);
    });

    it('tells a client to come back when there is no room, and writes nothing', async () => {
      ingest.refusal = new IngestError('unavailable', 'too many bytes in flight', { retryAfterMs: 2_000 });
      expect(await adapter.send(subject.rows(3))).toMatchObject({ outcome: 'unavailable', retryable: true, retryAfterMs: 2_000 });
      expect(ingest.writes).toEqual([]);
      ingest.refusal = undefined;
      expect(await adapter.send(subject.rows(3))).toMatchObject({ outcome: 'ok' });
    });

    it('tells a client to come back when the log cannot take the rows', async () => {
      ingest.beforeAnswer = () => Promise.reject(new IngestError('unavailable', 'no space left', { retryAfterMs: 2_000 }));
      expect(await adapter.send(subject.rows(3))).toMatchObject({ outcome: 'unavailable', retryable: true, retryAfterMs: 2_000 });
    });

    it('says nothing of its inside when something unforeseen fails, and does not invite to repeat it', async () => {
      ingest.beforeAnswer = () => Promise.reject(new TypeError('secret of line 7'));
      const answer = await adapter.send(subject.rows(3));
      expect(answer).toMatchObject({ outcome: 'internal', retryable: false });
      expect(answer.message).not.toMatch(/secret/);
    });

    it('answers only after the rows are written', async () => {
      const gate = new Gate();
      ingest.beforeAnswer = () => gate.pass();
      let answered = false;
      const answer = adapter.send(subject.rows(1)).then((value) => {
        answered = true;
        return value;
      });
      await gate.arrived;
      expect(answered).toBe(false);
      expect(ingest.inFlightBytes).toBeGreaterThan(0);
      gate.open();
      expect(await answer).toMatchObject({ outcome: 'ok' });
    });

    it('finishes open requests when it stops, and takes no more', async () => {
      const gate = new Gate();
      ingest.beforeAnswer = () => gate.pass();
      const open = adapter.send(subject.rows(2));
      await gate.arrived;
      const stopped = adapter.stop(20_000);
      await expect(adapter.send(subject.rows(1))).rejects.toThrow();
      gate.open();
      expect(await open).toMatchObject({ outcome: 'ok' });
      await stopped;
      expect(ingest.rows()).toEqual({ [subject.table]: 2 });
    });

    it('serves many requests at a time', async () => {
      const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => adapter.send(subject.rows(i + 1))));
      expect(answers.every(({ outcome }) => outcome === 'ok')).toBe(true);
      expect(ingest.rows()).toEqual({ [subject.table]: 5050 });
    });
  });
}
