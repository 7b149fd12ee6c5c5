/** Helpers to read messages of ingest.proto with the positional reader: one call for each message, none for each value. */
import { isUtf8 } from 'node:buffer';
import { malformed, type Wire } from '../wire';

/** A piece of the request: the content of a length-delimited field. */
export interface Span {
  readonly start: number;
  readonly stop: number;
}

export const WIRE = { varint: 0, fixed64: 1, delimited: 2, fixed32: 5 } as const;

/** The tag of a field. */
export const tagOf = (field: number, wireType: number): number => (field << 3) | wireType;

/** The contents of all length-delimited fields of a message whose number is wanted, by number, in order; others are skipped. */
export function spansOf(wire: Wire, spans: readonly Span[], onSpan: (field: number, span: Span) => void): void {
  for (const { start, stop } of spans) {
    for (let p = start; p < stop; ) {
      p = wire.tag(p, stop);
      const tag = wire.low;
      if ((tag & 7) !== WIRE.delimited || tag >>> 3 === 0) {
        p = wire.skip(tag, p, stop);
        continue;
      }
      p = wire.open(p, stop);
      const span = { start: p, stop: wire.stop };
      p = wire.stop;
      onSpan(tag >>> 3, span);
    }
  }
}

/** A string field. Throws IngestError `invalid_argument` when it is not UTF-8 (PB5). */
export function textOf(wire: Wire, { start, stop }: Span): string {
  const bytes = wire.bytes.subarray(start, stop);
  if (!isUtf8(bytes)) throw malformed('a string is not valid UTF-8', start);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
}
