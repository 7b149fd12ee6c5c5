import type { ValueReader } from './any-value';
import { writeExemplar } from './exemplars';
import { appendPacked64, appendPackedDoubles, HistogramFields, type HistogramTable, LATE_EXEMPLAR } from './histogram-table';
import { type MetricTable, type PointReader, refuseTimes } from './metric-table';
import type { Refusal } from './rejections';
import { HISTOGRAM_POINT, validate } from './validate';

const TAG = {
  startTime: 0x11,
  time: 0x19,
  count: 0x21,
  sum: 0x29,
  bucketCount: 0x31,
  bucketCounts: 0x32,
  explicitBound: 0x39,
  explicitBounds: 0x3a,
  exemplars: 0x42,
  attributes: 0x4a,
  flags: 0x50,
  min: 0x59,
  max: 0x61,
} as const;

const BUCKETS: Refusal = {
  code: 'invalid_value',
  column: 'bucket_counts',
  message: 'there is one bucket count more than there are bounds, or neither',
};
const BOUNDS: Refusal = { code: 'invalid_value', column: 'explicit_bounds', message: 'bounds are strictly increasing' };

/** HistogramDataPoint -> `metrics_histograms`. */
export class HistogramPoints implements PointReader {
  readonly table: MetricTable;
  private readonly fields = new HistogramFields();

  constructor(
    private readonly values: ValueReader,
    private readonly columns: HistogramTable,
  ) {
    this.table = columns.shared;
  }

  point(start: number, end: number): void {
    const { wire } = this.values;
    const { fields: f, columns } = this;
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
        case TAG.bucketCount:
          p = wire.fixed64(p, end);
          columns.bucketCounts.items.append(wire.low, wire.high);
          break;
        case TAG.explicitBound:
          p = wire.fixed64(p, end);
          columns.explicitBounds.items.append(wire.doubleAt(p - 8));
          break;
        case TAG.flags:
          p = wire.varint(p, end);
          f.flags = wire.low;
          break;
        case TAG.bucketCounts:
        case TAG.explicitBounds:
        case TAG.exemplars:
        case TAG.attributes:
          p = this.readDelimited(tag, p, end);
          break;
        default:
          p = wire.skip(tag, p, end);
      }
    }
    this.endRow(start, end);
  }

  private readDelimited(tag: number, p: number, end: number): number {
    const { values, columns } = this;
    const { wire } = values;
    const start = wire.open(p, end);
    const { stop } = wire;
    if (tag === TAG.attributes) this.table.labels.add(start, stop);
    else if (tag === TAG.bucketCounts) appendPacked64(columns.bucketCounts.items, wire, start, stop);
    else if (tag === TAG.explicitBounds) appendPackedDoubles(columns.explicitBounds.items, wire, start, stop);
    else if (!writeExemplar(values, start, stop, columns.exemplars.element(this.table.rows))) this.fields.exemplarsFit = false;
    return stop;
  }

  private endRow(start: number, end: number): void {
    const { fields: f, columns } = this;
    const refusal =
      refuseTimes(f.timeLow, f.timeHigh, f.startHigh) ?? this.refuseBuckets() ?? (f.exemplarsFit ? undefined : LATE_EXEMPLAR);
    if (refusal !== undefined) {
      validate(this.values.wire, start, end, HISTOGRAM_POINT);
      return columns.reject(refusal);
    }
    columns.appendFields(f);
    columns.bucketCounts.endRow();
    columns.explicitBounds.endRow();
    columns.scale.appendNull();
    columns.zeroCount.appendNull();
    columns.zeroThreshold.appendNull();
    columns.positiveOffset.appendNull();
    columns.positiveCounts.appendNull();
    columns.negativeOffset.appendNull();
    columns.negativeCounts.appendNull();
  }

  /** OD3. */
  private refuseBuckets(): Refusal | undefined {
    const { bucketCounts, explicitBounds } = this.columns;
    const counts = bucketCounts.openItems;
    const bounds = explicitBounds.openItems;
    if (counts !== bounds + 1 && !(counts === 0 && bounds === 0)) return BUCKETS;
    const { items } = explicitBounds;
    for (let i = items.length - bounds; i < items.length; i++) {
      const bound = items.valueAt(i);
      if (Number.isNaN(bound) || (i > items.length - bounds && bound <= items.valueAt(i - 1))) return BOUNDS;
    }
    return undefined;
  }
}
