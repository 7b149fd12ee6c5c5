/** `WriteRequest` and `WriteStreamRequest` as far as they are not rows (ingest.proto). */
import { IngestError } from '../../core/errors';
import type { AckLevel } from '../../core/ingest';
import { LIMITS } from '../../core/limits';
import { Wire } from '../wire';
import { type Span, spansOf, tagOf, textOf, WIRE } from './fields';

export type DataForm = 'arrow_stream' | 'columns' | 'rows';

/** What a request says; the rows are still on the wire. */
export interface WireWrite {
  readonly wire: Wire;
  readonly table: string;
  readonly form: DataForm | undefined;
  /** The content of the form's field; more than one piece where the field came more than once: then they are to be merged. */
  readonly data: readonly Span[];
  readonly ack: AckLevel;
  /** Undefined without one. */
  readonly idempotencyKey: string | undefined;
  readonly dryRun: boolean;
}

export interface WireStreamRequest {
  readonly requestId: string;
  readonly write: () => WireWrite;
}

const WRITE = { table: 1, key: 5, ack: 6, dryRun: 7 } as const;
const FORMS: ReadonlyMap<number, DataForm> = new Map([
  [2, 'arrow_stream'],
  [3, 'columns'],
  [4, 'rows'],
]);
const STREAM = { requestId: 1, write: 2 } as const;
const ACK_LEVELS: readonly AckLevel[] = ['wal', 'wal', 'hot', 'cold', 'all'];

/** Reads a `WriteRequest`. Throws IngestError `invalid_argument`. */
export function readWrite(message: Uint8Array): WireWrite {
  return readWriteSpans(new Wire(message), [{ start: 0, stop: message.length }]);
}

/** Reads a `WriteStreamRequest`; what is wrong with its write is thrown by `write`. Throws IngestError `invalid_argument`. */
export function readStreamRequest(message: Uint8Array): WireStreamRequest {
  const wire = new Wire(message);
  let requestId = '';
  const writes: Span[] = [];
  spansOf(wire, [{ start: 0, stop: message.length }], (field, span) => {
    if (field === STREAM.requestId) requestId = textOf(wire, span);
    else if (field === STREAM.write) writes.push(span);
  });
  if (Buffer.byteLength(requestId) > LIMITS.idempotencyKeyBytesMax) {
    throw new IngestError('invalid_argument', `a request id has at most ${LIMITS.idempotencyKeyBytesMax} bytes`);
  }
  return { requestId, write: () => readWriteSpans(wire, writes) };
}

function readWriteSpans(wire: Wire, spans: readonly Span[]): WireWrite {
  let table = '';
  let idempotencyKey: string | undefined;
  let form: DataForm | undefined;
  let data: Span[] = [];
  spansOf(wire, spans, (field, span) => {
    const named = FORMS.get(field);
    if (field === WRITE.table) table = textOf(wire, span);
    else if (field === WRITE.key) idempotencyKey = textOf(wire, span) || undefined;
    else if (named !== undefined) {
      // The last member of a oneof counts; a message that comes twice is merged, bytes are replaced (PB3).
      if (named !== form || named === 'arrow_stream') data = [];
      form = named;
      data.push(span);
    }
  });
  const { ack, dryRun } = readOptions(wire, spans);
  return { wire, table, form, data, ack, idempotencyKey, dryRun };
}

/** The fields that are varints. */
function readOptions(wire: Wire, spans: readonly Span[]): { ack: AckLevel; dryRun: boolean } {
  let ack: AckLevel = 'wal';
  let dryRun = false;
  for (const { start, stop } of spans) {
    for (let p = start; p < stop; ) {
      p = wire.tag(p, stop);
      const tag = wire.low;
      if (tag !== tagOf(WRITE.ack, WIRE.varint) && tag !== tagOf(WRITE.dryRun, WIRE.varint)) {
        p = wire.skip(tag, p, stop);
        continue;
      }
      p = wire.varint(p, stop);
      if (tag === tagOf(WRITE.dryRun, WIRE.varint)) {
        dryRun = (wire.low | wire.high) !== 0;
        continue;
      }
      const level = ACK_LEVELS[wire.high === 0 ? wire.low : -1];
      if (level === undefined) throw new IngestError('invalid_argument', 'unknown ack level', { at: 'ack_level' });
      ack = level;
    }
  }
  return { ack, dryRun };
}

/** What a request says, for its digest: the table, and the rows as they are on the wire. */
export function contentOf({ wire, table, form, data }: WireWrite): (string | Uint8Array)[] {
  return [table, form ?? '', ...data.map(({ start, stop }) => wire.bytes.subarray(start, stop))];
}
