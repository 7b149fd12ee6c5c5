import type { uint64Builder } from '../../columnar/builders';
import type { ValueReader } from './any-value';
import { writeExemplar } from './exemplars';
import { HistogramFields, type HistogramTable, LATE_EXEMPLAR } from './histogram-table';
import { type MetricTable, NO_RECORDED_VALUE, type PointReader, refuseTimes } from './metric-table';
import { EXPONENTIAL_POINT, validate } from './validate';

const TAG = {
  attributes: 0x0a,
  startTime: 0x11,
  time: 0x19,
  count: 0x21,
  sum: 0x29,
  scale: 0x30,
  zeroCount: 0x39,
  positive: 0x42,
  negative: 0x4a,
  flags: 0x50,
  exemplars: 0x5a,
  min: 0x61,
  max: 0x69,
  zeroThreshold: 0x71,
} as const;

const BUCKETS_TAG = { offset: 0x08, bucketCount: 0x10, bucketCounts: 0x12 } as const;

const zigzag = (value: number): number => (value >>> 1) ^ -(value & 1);

/** What only exponential points say; reset for each point. An offset is undefined when its Buckets message is not there. */
class ExponentialFields extends HistogramFields {
  scale = 0;
  zeroLow = 0;
  zeroHigh = 0;
  zeroThreshold = 0;
  positiveOffset: number | undefined;
  negativeOffset: number | undefined;

  override reset(): void {
    super.reset();
    this.scale = this.zeroLow = this.zeroHigh = this.zeroThreshold = 0;
    this.positiveOffset = this.negativeOffset = undefined;
  }
}

/** ExponentialHistogramDataPoint -> `metrics_histograms`. */
export class ExponentialPoints implements PointReader {
  readonly table: MetricTable;
  private readonly fields = new ExponentialFields();

  constructor(
    private readonly values: ValueReader,
    private readonly columns: HistogramTable,
  ) {
    this.table = columns.shared;
  }

  point(start: number, end: number): void {
    const { wire } = this.values;
    const { fields: f } = this;
    f.reset();
    let p = start;
    while (p < end) {
      p = wire.tag(p, end);
      const tag = wire.low;
      switch (tag) {
        case TAG.startTime:
          p = wire.fixed64(p, end);
          f.startLow = wire.low;
          f.startHigh = wire.high;
          break;
        case TAG.time:
          p = wire.fixed64(p, end);
          f.timeLow = wire.low;
          f.timeHigh = wire.high;
          break;
        case TAG.count:
          p = wire.fixed64(p, end);
          f.countLow = wire.low;
          f.countHigh = wire.high;
          break;
        case TAG.zeroCount:
          p = wire.fixed64(p, end);
          f.zeroLow = wire.low;
          f.zeroHigh = wire.high;
          break;
        case TAG.sum:
          p = wire.fixed64(p, end);
          f.sum = wire.doubleAt(p - 8);
          break;
        case TAG.min:
          p = wire.fixed64(p, end);
          f.min = wire.doubleAt(p - 8);
          break;
        case TAG.max:
          p = wire.fixed64(p, end);
          f.max = wire.doubleAt(p - 8);
          break;
        case TAG.zeroThreshold:
          p = wire.fixed64(p, end);
          f.zeroThreshold = wire.doubleAt(p - 8);
          break;
        case TAG.scale:
          p = wire.varint(p, end);
          f.scale = zigzag(wire.low);
          break;
        case TAG.flags:
          p = wire.varint(p, end);
          f.flags = wire.low;
          break;
        case TAG.attributes:
        case TAG.positive:
        case TAG.negative:
        case TAG.exemplars:
          p = this.readDelimited(tag, p, end);
          break;
        default:
          p = wire.skip(tag, p, end);
      }
    }
    this.endRow(start, end);
  }

  private readDelimited(tag: number, p: number, end: number): number {
    const { values, columns, fields: f } = this;
    const { wire } = values;
    const start = wire.open(p, end);
    const { stop } = wire;
    if (tag === TAG.attributes) this.table.labels.add(start, stop);
    else if (tag === TAG.positive)
      f.positiveOffset = this.readBuckets(start, stop, f.positiveOffset, columns.positiveCounts.items);
    else if (tag === TAG.negative)
      f.negativeOffset = this.readBuckets(start, stop, f.negativeOffset, columns.negativeCounts.items);
    else if (!writeExemplar(values, start, stop, columns.exemplars.element(this.table.rows))) f.exemplarsFit = false;
    return stop;
  }

  /** A Buckets message, or a further piece of one: counts are added, the last offset counts. */
  private readBuckets(start: number, end: number, before: number | undefined, counts: ReturnType<typeof uint64Builder>): number {
    const { wire } = this.values;
    let offset = before ?? 0;
    let p = start;
    while (p < end) {
      p = wire.tag(p, end);
      switch (wire.low) {
        case BUCKETS_TAG.offset:
          p = wire.varint(p, end);
          offset = zigzag(wire.low);
          break;
        case BUCKETS_TAG.bucketCount:
          p = wire.varint(p, end);
          counts.append(wire.low, wire.high);
          break;
        case BUCKETS_TAG.bucketCounts: {
          p = wire.open(p, end);
          const { stop } = wire;
          while (p < stop) {
            p = wire.varint(p, stop);
            counts.append(wire.low, wire.high);
          }
          break;
        }
        default:
          p = wire.skip(wire.low, p, end);
      }
    }
    return offset;
  }

  private endRow(start: number, end: number): void {
    const { fields: f, columns } = this;
    const refusal = refuseTimes(f.timeLow, f.timeHigh, f.startHigh) ?? (f.exemplarsFit ? undefined : LATE_EXEMPLAR);
    if (refusal !== undefined) {
      validate(this.values.wire, start, end, EXPONENTIAL_POINT);
      return columns.reject(refusal);
    }
    columns.appendFields(f);
    columns.bucketCounts.appendNull();
    columns.explicitBounds.appendNull();
    columns.scale.append(f.scale);
    if ((f.flags & NO_RECORDED_VALUE) === 0) columns.zeroCount.append(f.zeroLow, f.zeroHigh);
    else columns.zeroCount.appendNull();
    columns.zeroThreshold.append(f.zeroThreshold);
    this.appendBuckets(f.positiveOffset, columns.positiveOffset, columns.positiveCounts);
    this.appendBuckets(f.negativeOffset, columns.negativeOffset, columns.negativeCounts);
  }

  private appendBuckets(
    offset: number | undefined,
    offsets: HistogramTable['positiveOffset'],
    counts: HistogramTable['positiveCounts'],
  ): void {
    if (offset === undefined) {
      offsets.appendNull();
      counts.appendNull();
    } else {
      offsets.append(offset);
      counts.endRow();
    }
  }
}
