import { NumberBuilder, timestampBuilder } from '../../columnar/builders';
import { utf8Builder } from '../../columnar/bytes-builder';
import { HexBuilder } from '../../columnar/hex-builder';
import { InternedBuilder } from '../../columnar/interned';
import type { Keep } from '../../columnar/slab';
import type { DecodedRequest } from '../../core/batch';
import { LOGS_EVENTS } from '../../core/builtin-tables';
import { Wire } from '../wire';
import { ValueReader } from './any-value';
import { AttributeColumn } from './attribute-column';
import type { DecodeContext } from './context';
import { DecoderPool, type RequestDecoder } from './decoder-pool';
import { type EnvelopeVisitor, type Origin, walkEnvelope } from './envelope';
import { isId, SPAN_ID_BYTES, TRACE_ID_BYTES } from './ids';
import { OriginColumns } from './origin';
import { RowTally, timeTooLate } from './rejections';
import { TableColumns } from './table-batch';
import { LOG_RECORD, validate } from './validate';

const TAG = {
  time: 0x09,
  severityNumber: 0x10,
  severityText: 0x1a,
  body: 0x2a,
  attributes: 0x32,
  droppedCount: 0x38,
  flags: 0x45,
  traceId: 0x4a,
  spanId: 0x52,
  observedTime: 0x59,
  eventName: 0x62,
} as const;

/** Names of the AnyValue kinds, by field number. */
const BODY_TYPES = ['empty', 'string', 'bool', 'int', 'double', 'array', 'kvlist', 'bytes'] as const;

/** SeverityNumber counts four steps per level, from 1. */
const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'] as const;
const STEPS_PER_LEVEL = 4;

/** Bytes of a record on the wire, for first capacities only. */
const TYPICAL_ROW_BYTES = 300;

const pool = new DecoderPool((bodyBytes) => new LogsDecoder(bodyBytes));

/**
 * Decodes an ExportLogsServiceRequest (opentelemetry/proto/collector/logs/v1) into `logs_events`.
 * Throws IngestError `invalid_argument` for anything that is not a valid message, `payload_too_large` for too many rows.
 */
export function decodeLogs(body: Uint8Array, context: DecodeContext): DecodedRequest {
  return pool.run(body, context);
}

class LogsDecoder implements RequestDecoder, EnvelopeVisitor {
  private readonly wire = new Wire();
  private readonly values = new ValueReader(this.wire);
  private readonly tally = new RowTally();
  private arrivalLow = 0;
  private arrivalHigh = 0;
  private readonly timestamp;
  private readonly observed;
  private readonly severityNumber;
  private readonly severityText;
  private readonly level;
  private readonly message;
  private readonly bodyType;
  private readonly labels;
  private readonly droppedCount;
  private readonly flags;
  private readonly traceId;
  private readonly spanId;
  private readonly eventName;
  private readonly origin;
  private readonly columns;

  constructor(bodyBytes: number) {
    const rows = Math.max(16, Math.ceil(bodyBytes / TYPICAL_ROW_BYTES));
    this.timestamp = timestampBuilder(rows);
    this.observed = timestampBuilder(rows);
    this.severityNumber = NumberBuilder.int32(rows);
    this.severityText = new InternedBuilder(rows);
    this.level = new InternedBuilder(rows, LEVELS);
    this.message = utf8Builder(rows, bodyBytes >> 2);
    this.bodyType = new InternedBuilder(rows, BODY_TYPES);
    this.labels = new AttributeColumn(this.values, rows);
    this.droppedCount = NumberBuilder.uint32(rows);
    this.flags = NumberBuilder.uint32(rows);
    this.traceId = new HexBuilder(rows, TRACE_ID_BYTES);
    this.spanId = new HexBuilder(rows, SPAN_ID_BYTES);
    this.eventName = new InternedBuilder(rows);
    this.origin = new OriginColumns(this.values, rows);
    this.columns = new TableColumns(LOGS_EVENTS, {
      timestamp: this.timestamp,
      app: this.origin.app,
      host: this.origin.host,
      trace_id: this.traceId,
      message: this.message,
      labels: this.labels.builder,
      observed_timestamp: this.observed,
      span_id: this.spanId,
      severity_number: this.severityNumber,
      severity_text: this.severityText,
      level: this.level,
      flags: this.flags,
      event_name: this.eventName,
      body_type: this.bodyType,
      dropped_attributes_count: this.droppedCount,
      resource: this.origin.resource,
      scope: this.origin.scope,
    });
  }

  decode(body: Uint8Array, context: DecodeContext, keep: Keep): DecodedRequest {
    this.wire.load(body);
    this.arrivalLow = Number(BigInt.asIntN(32, context.arrivalNs));
    this.arrivalHigh = Number(BigInt.asIntN(32, context.arrivalNs >> 32n));
    walkEnvelope(this.wire, this);
    const { accepted: acceptedRows, rejected: rejectedRows, rejections } = this.tally;
    if (acceptedRows > 0) this.pad(acceptedRows);
    return { batches: acceptedRows > 0 ? [this.columns.finish(keep)] : [], acceptedRows, rejectedRows, rejections };
  }

  reset(): void {
    this.wire.clear();
    this.values.reset();
    this.tally.reset();
    this.labels.reset();
    this.origin.reset();
    this.columns.reset();
  }

  row(start: number, end: number): void {
    const { wire, values, labels } = this;
    const { bytes } = wire;
    let timeLow = 0;
    let timeHigh = 0;
    let observedLow = 0;
    let observedHigh = 0;
    let severity = 0;
    let dropped = 0;
    let flags = 0;
    let textStart = 0;
    let textEnd = 0;
    let nameStart = 0;
    let nameEnd = 0;
    let traceStart = 0;
    let traceEnd = 0;
    let spanStart = 0;
    let spanEnd = 0;
    /** Did a later field replace text that no column will hold? */
    let replaced = false;
    let p = start;
    while (p < end) {
      let tag = bytes[p++];
      if (tag >= 0x80) {
        p = wire.tag(p - 1, end);
        tag = wire.low;
      }
      switch (tag) {
        case TAG.time:
          p = wire.fixed64(p, end);
          timeLow = wire.low;
          timeHigh = wire.high;
          break;
        case TAG.observedTime:
          p = wire.fixed64(p, end);
          observedLow = wire.low;
          observedHigh = wire.high;
          break;
        case TAG.severityNumber:
          p = wire.varint(p, end);
          severity = wire.low;
          break;
        case TAG.severityText:
          replaced ||= textEnd > textStart;
          textStart = wire.open(p, end);
          p = textEnd = wire.stop;
          break;
        case TAG.body:
          p = wire.open(p, end);
          values.push(p, wire.stop);
          p = wire.stop;
          break;
        case TAG.attributes: {
          p = wire.open(p, end);
          const { stop } = wire;
          labels.add(p, stop);
          p = stop;
          break;
        }
        case TAG.droppedCount:
          p = wire.varint(p, end);
          dropped = wire.low;
          break;
        case TAG.flags:
          p = wire.fixed32(p, end);
          flags = wire.low;
          break;
        case TAG.traceId:
          traceStart = wire.open(p, end);
          p = traceEnd = wire.stop;
          break;
        case TAG.spanId:
          spanStart = wire.open(p, end);
          p = spanEnd = wire.stop;
          break;
        case TAG.eventName:
          replaced ||= nameEnd > nameStart;
          nameStart = wire.open(p, end);
          p = nameEnd = wire.stop;
          break;
        default:
          p = wire.skip(tag, p, end);
      }
    }
    if (timeHigh < 0 || observedHigh < 0) return this.rejectTime(start, end, timeHigh < 0 ? 'timestamp' : 'observed_timestamp');
    if (replaced) validate(wire, start, end, LOG_RECORD);
    // Columns that this record says nothing about are left behind; `pad` or a later value fills them up.
    const row = this.tally.accept();
    this.appendTimes(row, timeLow, timeHigh, observedLow, observedHigh);
    this.appendSeverity(row, severity, textStart, textEnd);
    if (values.size > 0) this.appendBody(row);
    labels.endRow();
    if (dropped !== 0) appendNumber(this.droppedCount, row, dropped);
    if (flags !== 0) appendNumber(this.flags, row, flags);
    if (isId(wire.view, traceStart, traceEnd, TRACE_ID_BYTES)) {
      this.traceId.padNulls(row);
      this.traceId.append(wire.view, traceStart, traceEnd);
    }
    if (isId(wire.view, spanStart, spanEnd, SPAN_ID_BYTES)) {
      this.spanId.padNulls(row);
      this.spanId.append(wire.view, spanStart, spanEnd);
    }
    if (nameEnd > nameStart) {
      this.eventName.padNulls(row);
      this.eventName.appendFrom(wire, nameStart, nameEnd);
    }
  }

  private pad(rows: number): void {
    const { observed, severityText, level, message, bodyType, traceId, spanId, eventName } = this;
    for (const column of [observed, severityText, level, message, bodyType, traceId, spanId, eventName]) column.padNulls(rows);
    for (const column of [this.severityNumber, this.droppedCount, this.flags]) column.padZeros(rows);
  }

  private rejectTime(start: number, end: number, column: string): void {
    validate(this.wire, start, end, LOG_RECORD);
    this.labels.dropRow();
    this.values.size = 0;
    this.tally.reject(timeTooLate(column));
  }

  private appendTimes(row: number, low: number, high: number, observedLow: number, observedHigh: number): void {
    const hasObserved = (observedLow | observedHigh) !== 0;
    if ((low | high) !== 0) this.timestamp.append(low, high);
    else if (hasObserved) this.timestamp.append(observedLow, observedHigh);
    else this.timestamp.append(this.arrivalLow, this.arrivalHigh);
    if (!hasObserved) return;
    this.observed.padNulls(row);
    this.observed.append(observedLow, observedHigh);
  }

  private appendSeverity(row: number, severity: number, textStart: number, textEnd: number): void {
    const { wire } = this;
    if (severity !== 0) appendNumber(this.severityNumber, row, severity);
    const hasText = textEnd > textStart;
    if (hasText) {
      this.severityText.padNulls(row);
      this.severityText.appendFrom(wire, textStart, textEnd);
    }
    const hasLevel = severity >= 1 && severity <= LEVELS.length * STEPS_PER_LEVEL;
    if (!hasLevel && !hasText) return;
    this.level.padNulls(row);
    if (hasLevel) this.level.appendId(((severity - 1) / STEPS_PER_LEVEL) | 0);
    else this.level.appendFrom(wire, textStart, textEnd);
  }

  private appendBody(row: number): void {
    const { values, message } = this;
    message.padNulls(row);
    const kind = values.writeValue(0, message);
    values.size = 0;
    if (kind === 0) message.appendNull();
    else message.endValue();
    this.bodyType.padNulls(row);
    this.bodyType.appendId(kind);
  }

  endScope(origin: Origin): void {
    this.origin.append(origin, this.tally.accepted - this.origin.app.length);
  }
}

function appendNumber(column: NumberBuilder<Int32Array | Uint32Array>, row: number, value: number): void {
  column.padZeros(row);
  column.append(value);
}
