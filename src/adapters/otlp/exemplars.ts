/** Exemplar (opentelemetry/proto/metrics/v1) as a JSON object: the column `exemplars` of the metric tables. */
import type { ByteSource } from '../../columnar/byte-source';
import type { BytesBuilder } from '../../columnar/bytes-builder';
import type { ValueReader } from './any-value';
import { jsonText, writeHex, writeInt64, writeJsonDouble, writeText, writeUint64 } from './json-text';

const TAG = { time: 0x11, asDouble: 0x19, spanId: 0x22, traceId: 0x2a, asInt: 0x31, attributes: 0x3a } as const;

const TEXT = {
  time: jsonText('{"time_unix_nano":"'),
  double: jsonText('","value":'),
  int: jsonText('","value_int":'),
  none: jsonText('","value":null'),
  traceId: jsonText(',"trace_id":"'),
  spanId: jsonText(',"span_id":"'),
  idEnd: jsonText('"'),
  attributes: jsonText(',"filtered_attributes":'),
  end: jsonText('}'),
};

/** Writes the Exemplar in [start, end). Gives false when its time is above int64; the text is then of no use. */
export function writeExemplar(values: ValueReader, start: number, end: number, out: BytesBuilder): boolean {
  const { wire } = values;
  const base = values.size;
  let timeLow = 0;
  let timeHigh = 0;
  /** Tag of the last member of the oneof. */
  let member = 0;
  let low = 0;
  let high = 0;
  let double = 0;
  let traceStart = 0;
  let traceEnd = 0;
  let spanStart = 0;
  let spanEnd = 0;
  let p = start;
  while (p < end) {
    p = wire.tag(p, end);
    const tag = wire.low;
    switch (tag) {
      case TAG.time:
        p = wire.fixed64(p, end);
        timeLow = wire.low;
        timeHigh = wire.high;
        break;
      case TAG.asDouble:
      case TAG.asInt:
        p = wire.fixed64(p, end);
        member = tag;
        low = wire.low;
        high = wire.high;
        double = wire.doubleAt(p - 8);
        break;
      case TAG.spanId:
        spanStart = wire.open(p, end);
        p = spanEnd = wire.stop;
        break;
      case TAG.traceId:
        traceStart = wire.open(p, end);
        p = traceEnd = wire.stop;
        break;
      case TAG.attributes:
        p = wire.open(p, end);
        values.push(p, wire.stop);
        p = wire.stop;
        break;
      default:
        p = wire.skip(tag, p, end);
    }
  }
  writeText(out, TEXT.time);
  writeUint64(out, timeLow, timeHigh);
  writeText(out, member === 0 ? TEXT.none : member === TAG.asInt ? TEXT.int : TEXT.double);
  if (member === TAG.asInt) writeInt64(out, low, high);
  else if (member === TAG.asDouble) writeJsonDouble(out, double);
  if (traceEnd > traceStart) writeId(out, TEXT.traceId, wire.bytes, traceStart, traceEnd);
  if (spanEnd > spanStart) writeId(out, TEXT.spanId, wire.bytes, spanStart, spanEnd);
  writeText(out, TEXT.attributes);
  values.writeEntries(base, 1, out);
  values.size = base;
  writeText(out, TEXT.end);
  return timeHigh >= 0;
}

function writeId(out: BytesBuilder, key: ByteSource, bytes: Uint8Array, start: number, end: number): void {
  writeText(out, key);
  writeHex(out, bytes, start, end);
  writeText(out, TEXT.idEnd);
}
