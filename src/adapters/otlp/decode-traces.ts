import { int64Builder, NumberBuilder, timestampBuilder } from '../../columnar/builders';
import { type BytesBuilder, utf8Builder } from '../../columnar/bytes-builder';
import { HexBuilder } from '../../columnar/hex-builder';
import { InternedBuilder } from '../../columnar/interned';
import type { Keep } from '../../columnar/slab';
import type { DecodedRequest } from '../../core/batch';
import { TRACES_SPANS } from '../../core/builtin-tables';
import { Wire } from '../wire';
import { ValueReader } from './any-value';
import { AttributeColumn } from './attribute-column';
import type { DecodeContext } from './context';
import { DecoderPool, type RequestDecoder } from './decoder-pool';
import { EnumColumn } from './enum-column';
import { type EnvelopeVisitor, type Origin, walkEnvelope } from './envelope';
import { isId, SPAN_ID_BYTES, TRACE_ID_BYTES } from './ids';
import { JsonListColumn } from './json-list';
import { OriginColumns } from './origin';
import { type Refusal, RowTally, timeTooLate } from './rejections';
import { writeEvent, writeLink } from './span-json';
import { TableColumns } from './table-batch';
import { requireUtf8, SPAN, validate } from './validate';

const TAG = {
  traceId: 0x0a,
  spanId: 0x12,
  traceState: 0x1a,
  parentSpanId: 0x22,
  name: 0x2a,
  kind: 0x30,
  startTime: 0x39,
  endTime: 0x41,
  attributes: 0x4a,
  droppedAttributes: 0x50,
  events: 0x5a,
  droppedEvents: 0x60,
  links: 0x6a,
  droppedLinks: 0x70,
  status: 0x7a,
  /** Field 16, fixed32: the only tag of two bytes. */
  flags: 0x85,
} as const;

const STATUS_TAG = { message: 0x12, code: 0x18 } as const;

const KINDS = ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'];
const STATUS_CODES = ['unset', 'ok', 'error'];

const badId = (column: string, message: string): Refusal => ({ code: 'invalid_id', column, message });
const BAD_TRACE_ID = badId('trace_id', 'a trace id is 16 bytes, not all zero');
const BAD_SPAN_ID = badId('span_id', 'a span id is 8 bytes, not all zero');
const BAD_PARENT_ID = badId('parent_span_id', 'a parent span id is empty or 8 bytes');
const NO_START: Refusal = { code: 'invalid_time', column: 'start_time', message: 'a span has a start time' };
const LATE_START = timeTooLate('start_time');
const LATE_END = timeTooLate('end_time');
const LATE_EVENT = timeTooLate('events');

/** Bytes of a span on the wire, for first capacities only. */
const TYPICAL_ROW_BYTES = 400;

const pool = new DecoderPool((bodyBytes) => new TracesDecoder(bodyBytes));

/**
 * Decodes an ExportTraceServiceRequest (opentelemetry/proto/collector/trace/v1) into `traces_spans`.
 * Throws IngestError `invalid_argument` for anything that is not a valid message, `payload_too_large` for too many rows.
 */
export function decodeTraces(body: Uint8Array, context: DecodeContext): DecodedRequest {
  return pool.run(body, context);
}

/** The fields of one span as they are found, whatever their order; reset for each span. */
class SpanFields {
  startLow = 0;
  startHigh = 0;
  endLow = 0;
  endHigh = 0;
  traceStart = 0;
  traceEnd = 0;
  spanStart = 0;
  spanEnd = 0;
  parentStart = 0;
  parentEnd = 0;
  stateStart = 0;
  stateEnd = 0;
  nameStart = 0;
  nameEnd = 0;
  messageStart = 0;
  messageEnd = 0;
  kind = 0;
  code = 0;
  flags = 0;
  droppedAttributes = 0;
  droppedEvents = 0;
  droppedLinks = 0;
  eventTimesFit = true;
  /** Did a later field replace text that no column will hold? */
  replaced = false;

  reset(): void {
    this.startLow = this.startHigh = this.endLow = this.endHigh = 0;
    this.traceStart = this.traceEnd = this.spanStart = this.spanEnd = this.parentStart = this.parentEnd = 0;
    this.stateStart = this.stateEnd = this.nameStart = this.nameEnd = this.messageStart = this.messageEnd = 0;
    this.kind = this.code = this.flags = this.droppedAttributes = this.droppedEvents = this.droppedLinks = 0;
    this.eventTimesFit = true;
    this.replaced = false;
  }
}

/** OD2, and the range of 64-bit nanoseconds. */
function refuse(view: DataView, f: SpanFields): Refusal | undefined {
  if (!isId(view, f.traceStart, f.traceEnd, TRACE_ID_BYTES)) return BAD_TRACE_ID;
  if (!isId(view, f.spanStart, f.spanEnd, SPAN_ID_BYTES)) return BAD_SPAN_ID;
  const parentBytes = f.parentEnd - f.parentStart;
  if (parentBytes !== 0 && parentBytes !== SPAN_ID_BYTES) return BAD_PARENT_ID;
  if ((f.startLow | f.startHigh) === 0) return NO_START;
  if (f.startHigh < 0) return LATE_START;
  if (f.endHigh < 0) return LATE_END;
  return f.eventTimesFit ? undefined : LATE_EVENT;
}

class TracesDecoder implements RequestDecoder, EnvelopeVisitor {
  private readonly wire = new Wire();
  private readonly values = new ValueReader(this.wire);
  private readonly tally = new RowTally();
  private readonly fields = new SpanFields();
  private readonly start;
  private readonly end;
  private readonly duration;
  private readonly traceId;
  private readonly spanId;
  private readonly parentSpanId;
  private readonly traceState;
  private readonly flags;
  private readonly name;
  private readonly kind;
  private readonly statusCode;
  private readonly statusMessage;
  private readonly attributes;
  private readonly droppedAttributes;
  private readonly events = new JsonListColumn();
  private readonly droppedEvents;
  private readonly links = new JsonListColumn();
  private readonly droppedLinks;
  private readonly origin;
  private readonly columns;

  constructor(bodyBytes: number) {
    const rows = Math.max(16, Math.ceil(bodyBytes / TYPICAL_ROW_BYTES));
    this.start = timestampBuilder(rows);
    this.end = timestampBuilder(rows);
    this.duration = int64Builder(rows);
    this.traceId = new HexBuilder(rows, TRACE_ID_BYTES);
    this.spanId = new HexBuilder(rows, SPAN_ID_BYTES);
    this.parentSpanId = new HexBuilder(rows, SPAN_ID_BYTES);
    this.traceState = utf8Builder(rows);
    this.flags = NumberBuilder.uint32(rows);
    this.name = new InternedBuilder(rows);
    this.kind = new EnumColumn(KINDS, rows);
    this.statusCode = new EnumColumn(STATUS_CODES, rows);
    this.statusMessage = utf8Builder(rows);
    this.attributes = new AttributeColumn(this.values, rows);
    this.droppedAttributes = NumberBuilder.uint32(rows);
    this.droppedEvents = NumberBuilder.uint32(rows);
    this.droppedLinks = NumberBuilder.uint32(rows);
    this.origin = new OriginColumns(this.values, rows);
    this.columns = new TableColumns(TRACES_SPANS, {
      start_time: this.start,
      end_time: this.end,
      duration_ns: this.duration,
      trace_id: this.traceId,
      span_id: this.spanId,
      parent_span_id: this.parentSpanId,
      trace_state: this.traceState,
      flags: this.flags,
      name: this.name,
      kind: this.kind.builder,
      status_code: this.statusCode.builder,
      status_message: this.statusMessage,
      app: this.origin.app,
      host: this.origin.host,
      attributes: this.attributes.builder,
      dropped_attributes_count: this.droppedAttributes,
      events: this.events.builder,
      dropped_events_count: this.droppedEvents,
      links: this.links.builder,
      dropped_links_count: this.droppedLinks,
      resource: this.origin.resource,
      scope: this.origin.scope,
    });
  }

  decode(body: Uint8Array, _context: DecodeContext, keep: Keep): DecodedRequest {
    this.wire.load(body);
    walkEnvelope(this.wire, this);
    const { accepted: acceptedRows, rejected: rejectedRows, rejections } = this.tally;
    if (acceptedRows > 0) this.pad(acceptedRows);
    return { batches: acceptedRows > 0 ? [this.columns.finish(keep)] : [], acceptedRows, rejectedRows, rejections };
  }

  reset(): void {
    this.wire.clear();
    this.values.reset();
    this.tally.reset();
    this.attributes.reset();
    this.events.reset();
    this.links.reset();
    this.origin.reset();
    this.columns.reset();
  }

  row(start: number, end: number): void {
    const { wire, fields: f } = this;
    const { bytes } = wire;
    f.reset();
    let p = start;
    while (p < end) {
      let tag = bytes[p++];
      if (tag >= 0x80) {
        p = wire.tag(p - 1, end);
        tag = wire.low;
      }
      switch (tag) {
        case TAG.traceId:
          f.traceStart = wire.open(p, end);
          p = f.traceEnd = wire.stop;
          break;
        case TAG.spanId:
          f.spanStart = wire.open(p, end);
          p = f.spanEnd = wire.stop;
          break;
        case TAG.parentSpanId:
          f.parentStart = wire.open(p, end);
          p = f.parentEnd = wire.stop;
          break;
        case TAG.startTime:
          p = wire.fixed64(p, end);
          f.startLow = wire.low;
          f.startHigh = wire.high;
          break;
        case TAG.endTime:
          p = wire.fixed64(p, end);
          f.endLow = wire.low;
          f.endHigh = wire.high;
          break;
        case TAG.attributes: {
          p = wire.open(p, end);
          const { stop } = wire;
          this.attributes.add(p, stop);
          p = stop;
          break;
        }
        case TAG.name:
          f.replaced ||= f.nameEnd > f.nameStart;
          f.nameStart = wire.open(p, end);
          p = f.nameEnd = wire.stop;
          break;
        case TAG.kind:
          p = wire.varint(p, end);
          f.kind = wire.low;
          break;
        default:
          p = this.readRareField(tag, p, end);
      }
    }
    this.endRow(start, end);
  }

  private readRareField(tag: number, p: number, end: number): number {
    const { wire, fields: f } = this;
    let next: number;
    switch (tag) {
      case TAG.status:
      case TAG.events:
      case TAG.links: {
        next = wire.open(p, end);
        const { stop } = wire;
        if (tag === TAG.status) this.readStatus(next, stop);
        else if (tag === TAG.links) writeLink(this.values, next, stop, this.links.element(this.tally.accepted));
        else if (!writeEvent(this.values, next, stop, this.events.element(this.tally.accepted))) f.eventTimesFit = false;
        return stop;
      }
      case TAG.traceState:
        f.replaced ||= f.stateEnd > f.stateStart;
        f.stateStart = wire.open(p, end);
        f.stateEnd = wire.stop;
        return wire.stop;
      case TAG.flags:
        next = wire.fixed32(p, end);
        f.flags = wire.low;
        return next;
      case TAG.droppedAttributes:
        next = wire.varint(p, end);
        f.droppedAttributes = wire.low;
        return next;
      case TAG.droppedEvents:
        next = wire.varint(p, end);
        f.droppedEvents = wire.low;
        return next;
      case TAG.droppedLinks:
        next = wire.varint(p, end);
        f.droppedLinks = wire.low;
        return next;
      default:
        return wire.skip(tag, p, end);
    }
  }

  /** A Status, or a further piece of one: its fields merge into what is there. */
  private readStatus(start: number, end: number): void {
    const { wire, fields: f } = this;
    let p = start;
    while (p < end) {
      p = wire.tag(p, end);
      if (wire.low === STATUS_TAG.code) {
        p = wire.varint(p, end);
        f.code = wire.low;
      } else if (wire.low === STATUS_TAG.message) {
        requireUtf8(wire, f.messageStart, f.messageEnd);
        f.messageStart = wire.open(p, end);
        p = f.messageEnd = wire.stop;
      } else p = wire.skip(wire.low, p, end);
    }
  }

  private endRow(start: number, end: number): void {
    const { wire, fields: f } = this;
    const refusal = refuse(wire.view, f);
    if (refusal !== undefined) return this.reject(start, end, refusal);
    if (f.replaced) validate(wire, start, end, SPAN);
    this.appendFields(this.tally.accept());
  }

  /** Columns that the span says nothing about are left behind; `pad` or a later value fills them up. */
  private appendFields(row: number): void {
    const { fields: f } = this;
    const { wire } = this;
    const { view } = wire;
    this.start.append(f.startLow, f.startHigh);
    if ((f.endLow | f.endHigh) !== 0) {
      this.end.padNulls(row);
      this.end.append(f.endLow, f.endHigh);
      this.duration.padNulls(row);
      const borrow = f.endLow >>> 0 < f.startLow >>> 0 ? 1 : 0;
      this.duration.append(f.endLow - f.startLow, f.endHigh - f.startHigh - borrow);
    }
    this.traceId.append(view, f.traceStart, f.traceEnd);
    this.spanId.append(view, f.spanStart, f.spanEnd);
    if (isId(view, f.parentStart, f.parentEnd, SPAN_ID_BYTES)) {
      this.parentSpanId.padNulls(row);
      this.parentSpanId.append(view, f.parentStart, f.parentEnd);
    }
    appendText(this.traceState, row, wire, f.stateStart, f.stateEnd);
    this.name.appendFrom(wire, f.nameStart, f.nameEnd);
    this.kind.append(f.kind);
    this.statusCode.append(f.code);
    appendText(this.statusMessage, row, wire, f.messageStart, f.messageEnd);
    this.attributes.endRow();
    this.events.endRow();
    this.links.endRow();
    appendNumber(this.flags, row, f.flags);
    appendNumber(this.droppedAttributes, row, f.droppedAttributes);
    appendNumber(this.droppedEvents, row, f.droppedEvents);
    appendNumber(this.droppedLinks, row, f.droppedLinks);
  }

  private pad(rows: number): void {
    const { end, duration, parentSpanId, traceState, statusMessage } = this;
    const events = this.events.builder;
    const links = this.links.builder;
    for (const column of [end, duration, parentSpanId, traceState, statusMessage, events, links]) column.padNulls(rows);
    const { flags, droppedAttributes, droppedEvents, droppedLinks } = this;
    for (const column of [flags, droppedAttributes, droppedEvents, droppedLinks]) column.padZeros(rows);
  }

  private reject(start: number, end: number, refusal: Refusal): void {
    validate(this.wire, start, end, SPAN);
    this.attributes.dropRow();
    this.events.dropRow();
    this.links.dropRow();
    this.tally.reject(refusal);
  }

  endScope(origin: Origin): void {
    this.origin.append(origin, this.tally.accepted - this.origin.app.length);
  }
}

function appendText(column: BytesBuilder, row: number, wire: Wire, start: number, end: number): void {
  if (end === start) return;
  column.padNulls(row);
  column.appendFrom(wire, start, end);
}

function appendNumber(column: NumberBuilder<Uint32Array>, row: number, value: number): void {
  if (value === 0) return;
  column.padZeros(row);
  column.append(value);
}
