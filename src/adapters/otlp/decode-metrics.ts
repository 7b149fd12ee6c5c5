import type { Keep } from '../../columnar/slab';
import type { DecodedRequest, TableBatch } from '../../core/batch';
import { Wire } from '../wire';
import { ValueReader } from './any-value';
import type { DecodeContext } from './context';
import { ExponentialPoints } from './decode-exponential-histograms';
import { HistogramPoints } from './decode-histograms';
import { NumberPoints } from './decode-number-points';
import { SummaryPoints } from './decode-summaries';
import { DecoderPool, type RequestDecoder } from './decoder-pool';
import { EMPTY_RANGE, type EnvelopeVisitor, type Origin, type Range, walkEnvelope } from './envelope';
import { HistogramTable } from './histogram-table';
import type { MetricInfo, MetricKind, PointReader } from './metric-table';
import { RowTally } from './rejections';
import { METRIC, METRIC_DATA, requireUtf8, validate } from './validate';

const TAG = { name: 0x0a, description: 0x12, unit: 0x1a, metadata: 0x62 } as const;

/** Tag of the member of Metric.data -> kind. */
const KINDS: ReadonlyMap<number, MetricKind> = new Map([
  [0x2a, 'gauge'],
  [0x3a, 'sum'],
  [0x4a, 'histogram'],
  [0x52, 'exponential_histogram'],
  [0x5a, 'summary'],
]);

/** Gauge, Sum, Histogram, ExponentialHistogram and Summary have these numbers in common. */
const DATA_TAG = { dataPoints: 0x0a, temporality: 0x10, monotonic: 0x18 } as const;

/** Bytes of a point on the wire, for first capacities only. */
const TYPICAL_ROW_BYTES = 150;

const pool = new DecoderPool((bodyBytes) => new MetricsDecoder(bodyBytes));

/**
 * Decodes an ExportMetricsServiceRequest (opentelemetry/proto/collector/metrics/v1) into `metrics_events`,
 * `metrics_histograms` and `metrics_summaries`. Rows are data points, counted over all metrics in order.
 * Throws IngestError `invalid_argument` for anything that is not a valid message, `payload_too_large` for too many rows.
 */
export function decodeMetrics(body: Uint8Array, context: DecodeContext): DecodedRequest {
  return pool.run(body, context);
}

/** The fields of one Metric as they are found, whatever their order. */
class MetricFields {
  name = EMPTY_RANGE;
  description = EMPTY_RANGE;
  unit = EMPTY_RANGE;
  readonly metadata: Range[] = [];
  /** Tag of the last member of the oneof, and its pieces. */
  member = 0;
  pieces: Range[] = [];
}

/** What a data message says besides its points. */
interface DataFields {
  temporality: number;
  monotonic: boolean;
}

class MetricsDecoder implements RequestDecoder, EnvelopeVisitor {
  private readonly wire = new Wire();
  private readonly values = new ValueReader(this.wire);
  private readonly tally = new RowTally();
  private numbers: NumberPoints | undefined;
  private histogramTable: HistogramTable | undefined;
  private histograms: HistogramPoints | undefined;
  private exponentials: ExponentialPoints | undefined;
  private summaries: SummaryPoints | undefined;

  constructor(private readonly bodyBytes: number) {}

  decode(body: Uint8Array, _context: DecodeContext, keep: Keep): DecodedRequest {
    this.wire.load(body);
    walkEnvelope(this.wire, this);
    const { numbers, histogramTable, summaries } = this;
    const batches: TableBatch[] = [];
    if (numbers !== undefined && numbers.table.rows > 0) batches.push(numbers.finish(keep));
    if (histogramTable !== undefined && histogramTable.shared.rows > 0) batches.push(histogramTable.finish(keep));
    if (summaries !== undefined && summaries.table.rows > 0) batches.push(summaries.finish(keep));
    const { accepted: acceptedRows, rejected: rejectedRows, rejections } = this.tally;
    return { batches, acceptedRows, rejectedRows, rejections };
  }

  reset(): void {
    this.wire.clear();
    this.values.reset();
    this.tally.reset();
    this.numbers?.reset();
    this.histogramTable?.reset();
    this.summaries?.reset();
  }

  row(start: number, end: number): void {
    const fields = this.readMetric(start, end);
    const kind = KINDS.get(fields.member);
    let rows = 0;
    if (kind !== undefined) {
      const reader = this.readerOf(kind);
      const { temporality, monotonic } = this.readData(fields.pieces, reader);
      const info: MetricInfo = {
        name: fields.name,
        description: fields.description,
        unit: fields.unit,
        metadata: fields.metadata,
        kind,
        temporality: kind === 'gauge' || kind === 'summary' ? undefined : temporality,
        monotonic: kind === 'sum' ? monotonic : undefined,
      };
      rows = reader.table.endMetric(info);
      this.numbers?.endMetric(info.monotonic);
    }
    if (rows === 0) validate(this.wire, start, end, METRIC);
  }

  private readMetric(start: number, end: number): MetricFields {
    const { wire } = this;
    const fields = new MetricFields();
    let p = start;
    while (p < end) {
      p = wire.tag(p, end);
      const tag = wire.low;
      const isText = tag === TAG.name || tag === TAG.description || tag === TAG.unit;
      if (!isText && tag !== TAG.metadata && !KINDS.has(tag)) {
        p = wire.skip(tag, p, end);
        continue;
      }
      const range = { start: wire.open(p, end), end: wire.stop };
      p = range.end;
      if (isText) this.setText(fields, tag, range);
      else if (tag === TAG.metadata) fields.metadata.push(range);
      else this.addData(fields, tag, range);
    }
    return fields;
  }

  private setText(fields: MetricFields, tag: number, range: Range): void {
    const name = tag === TAG.name ? 'name' : tag === TAG.unit ? 'unit' : 'description';
    requireUtf8(this.wire, fields[name].start, fields[name].end);
    fields[name] = range;
  }

  /** The same member again is a further piece of it; another member replaces it. */
  private addData(fields: MetricFields, tag: number, range: Range): void {
    if (fields.member !== tag) {
      const rule = METRIC_DATA.get(fields.member >>> 3);
      if (rule !== undefined) for (const piece of fields.pieces) validate(this.wire, piece.start, piece.end, rule);
      fields.member = tag;
      fields.pieces = [];
    }
    fields.pieces.push(range);
  }

  private readData(pieces: readonly Range[], reader: PointReader): DataFields {
    const { wire } = this;
    const data: DataFields = { temporality: 0, monotonic: false };
    for (const { start, end } of pieces) {
      let p = start;
      while (p < end) {
        p = wire.tag(p, end);
        switch (wire.low) {
          case DATA_TAG.dataPoints: {
            p = wire.open(p, end);
            const { stop } = wire;
            reader.point(p, stop);
            p = stop;
            break;
          }
          case DATA_TAG.temporality:
            p = wire.varint(p, end);
            data.temporality = wire.low;
            break;
          case DATA_TAG.monotonic:
            p = wire.varint(p, end);
            data.monotonic = (wire.low | wire.high) !== 0;
            break;
          default:
            p = wire.skip(wire.low, p, end);
        }
      }
    }
    return data;
  }

  private readerOf(kind: MetricKind): PointReader {
    const { values, tally } = this;
    if (kind === 'gauge' || kind === 'sum') {
      this.numbers ??= new NumberPoints(values, tally, Math.max(16, Math.ceil(this.bodyBytes / TYPICAL_ROW_BYTES)));
      return this.numbers;
    }
    if (kind === 'summary') {
      this.summaries ??= new SummaryPoints(values, tally);
      return this.summaries;
    }
    this.histogramTable ??= new HistogramTable(values, tally);
    if (kind === 'histogram') {
      this.histograms ??= new HistogramPoints(values, this.histogramTable);
      return this.histograms;
    }
    this.exponentials ??= new ExponentialPoints(values, this.histogramTable);
    return this.exponentials;
  }

  endScope(origin: Origin): void {
    this.numbers?.table.endScope(origin);
    this.histogramTable?.shared.endScope(origin);
    this.summaries?.table.endScope(origin);
  }
}
