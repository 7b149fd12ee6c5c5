/** Span.Event and Span.Link (opentelemetry/proto/trace/v1) as JSON: the columns `events` and `links` of `traces_spans`. */
import type { BytesBuilder } from '../../columnar/bytes-builder';
import type { ValueReader } from './any-value';
import { writeDroppedCount } from './json-list';
import { jsonText, writeHex, writeJsonString, writeText, writeUint64 } from './json-text';
import { requireUtf8 } from './validate';

const EVENT_TAG = { time: 0x09, name: 0x12, attributes: 0x1a, droppedCount: 0x20 } as const;
const LINK_TAG = { traceId: 0x0a, spanId: 0x12, traceState: 0x1a, attributes: 0x22, droppedCount: 0x28, flags: 0x35 } as const;

const TEXT = {
  time: jsonText('{"time_unix_nano":"'),
  name: jsonText('","name":'),
  attributes: jsonText(',"attributes":'),
  traceId: jsonText('{"trace_id":"'),
  spanId: jsonText('","span_id":"'),
  spanIdEnd: jsonText('"'),
  traceState: jsonText(',"trace_state":'),
  flags: jsonText(',"flags":'),
  end: jsonText('}'),
};

/** Writes the Span.Event in [start, end). Gives false when its time is above int64; the text is then of no use. */
export function writeEvent(values: ValueReader, start: number, end: number, out: BytesBuilder): boolean {
  const { wire } = values;
  const base = values.size;
  let low = 0;
  let high = 0;
  let nameStart = 0;
  let nameEnd = 0;
  let dropped = 0;
  let p = start;
  while (p < end) {
    p = wire.tag(p, end);
    switch (wire.low) {
      case EVENT_TAG.time:
        p = wire.fixed64(p, end);
        low = wire.low;
        high = wire.high;
        break;
      case EVENT_TAG.name:
        requireUtf8(wire, nameStart, nameEnd);
        nameStart = wire.open(p, end);
        p = nameEnd = wire.stop;
        break;
      case EVENT_TAG.attributes:
        p = wire.open(p, end);
        values.push(p, wire.stop);
        p = wire.stop;
        break;
      case EVENT_TAG.droppedCount:
        p = wire.varint(p, end);
        dropped = wire.low;
        break;
      default:
        p = wire.skip(wire.low, p, end);
    }
  }
  writeText(out, TEXT.time);
  writeUint64(out, low, high);
  writeText(out, TEXT.name);
  writeJsonString(out, wire, nameStart, nameEnd);
  writeText(out, TEXT.attributes);
  values.writeEntries(base, 1, out);
  values.size = base;
  writeDroppedCount(out, dropped);
  writeText(out, TEXT.end);
  return high >= 0;
}

/** Writes the Span.Link in [start, end). Ids are written as they are, whatever their length. */
export function writeLink(values: ValueReader, start: number, end: number, out: BytesBuilder): void {
  const { wire } = values;
  const base = values.size;
  let traceStart = 0;
  let traceEnd = 0;
  let spanStart = 0;
  let spanEnd = 0;
  let stateStart = 0;
  let stateEnd = 0;
  let dropped = 0;
  let flags = 0;
  let p = start;
  while (p < end) {
    p = wire.tag(p, end);
    switch (wire.low) {
      case LINK_TAG.traceId:
        traceStart = wire.open(p, end);
        p = traceEnd = wire.stop;
        break;
      case LINK_TAG.spanId:
        spanStart = wire.open(p, end);
        p = spanEnd = wire.stop;
        break;
      case LINK_TAG.traceState:
        requireUtf8(wire, stateStart, stateEnd);
        stateStart = wire.open(p, end);
        p = stateEnd = wire.stop;
        break;
      case LINK_TAG.attributes:
        p = wire.open(p, end);
        values.push(p, wire.stop);
        p = wire.stop;
        break;
      case LINK_TAG.droppedCount:
        p = wire.varint(p, end);
        dropped = wire.low;
        break;
      case LINK_TAG.flags:
        p = wire.fixed32(p, end);
        flags = wire.low;
        break;
      default:
        p = wire.skip(wire.low, p, end);
    }
  }
  writeText(out, TEXT.traceId);
  writeHex(out, wire.bytes, traceStart, traceEnd);
  writeText(out, TEXT.spanId);
  writeHex(out, wire.bytes, spanStart, spanEnd);
  writeText(out, TEXT.spanIdEnd);
  if (stateEnd > stateStart) {
    writeText(out, TEXT.traceState);
    writeJsonString(out, wire, stateStart, stateEnd);
  }
  writeText(out, TEXT.attributes);
  values.writeEntries(base, 1, out);
  values.size = base;
  writeDroppedCount(out, dropped);
  if (flags !== 0) {
    writeText(out, TEXT.flags);
    writeUint64(out, flags, 0);
  }
  writeText(out, TEXT.end);
}
