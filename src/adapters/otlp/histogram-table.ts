import { NumberBuilder, uint64Builder } from '../../columnar/builders';
import { ListBuilder } from '../../columnar/nested-builders';
import type { Keep } from '../../columnar/slab';
import type { TableBatch } from '../../core/batch';
import { METRICS_HISTOGRAMS } from '../../core/builtin-tables';
import type { Wire } from '../wire';
import type { ValueReader } from './any-value';
import { JsonListColumn } from './json-list';
import { MetricTable, NO_RECORDED_VALUE } from './metric-table';
import { type Refusal, type RowTally, timeTooLate } from './rejections';
import { requireWhole } from './validate';

export const LATE_EXEMPLAR = timeTooLate('exemplars');

/** What both kinds of histogram points say besides their buckets; reset for each point. */
export class HistogramFields {
  timeLow = 0;
  timeHigh = 0;
  startLow = 0;
  startHigh = 0;
  countLow = 0;
  countHigh = 0;
  /** Undefined when not set: 0 is a value (OJ11). */
  sum: number | undefined;
  min: number | undefined;
  max: number | undefined;
  flags = 0;
  exemplarsFit = true;

  reset(): void {
    this.timeLow = this.timeHigh = this.startLow = this.startHigh = this.countLow = this.countHigh = this.flags = 0;
    this.sum = this.min = this.max = undefined;
    this.exemplarsFit = true;
  }
}

const uint64List = (): ListBuilder<ReturnType<typeof uint64Builder>> => new ListBuilder(uint64Builder());

/** The columns of `metrics_histograms`, filled by both kinds of points. */
export class HistogramTable {
  readonly shared: MetricTable;
  readonly exemplars = new JsonListColumn();
  readonly bucketCounts = uint64List();
  readonly explicitBounds = new ListBuilder(NumberBuilder.float64());
  readonly scale = NumberBuilder.int32();
  readonly zeroCount = uint64Builder();
  readonly zeroThreshold = NumberBuilder.float64();
  readonly positiveOffset = NumberBuilder.int32();
  readonly positiveCounts = uint64List();
  readonly negativeOffset = NumberBuilder.int32();
  readonly negativeCounts = uint64List();
  private readonly count = uint64Builder();
  private readonly sum = NumberBuilder.float64();
  private readonly min = NumberBuilder.float64();
  private readonly max = NumberBuilder.float64();

  constructor(values: ValueReader, tally: RowTally) {
    this.shared = new MetricTable(METRICS_HISTOGRAMS, values, tally, 16, {
      count: this.count,
      sum: this.sum,
      min: this.min,
      max: this.max,
      bucket_counts: this.bucketCounts,
      explicit_bounds: this.explicitBounds,
      scale: this.scale,
      zero_count: this.zeroCount,
      zero_threshold: this.zeroThreshold,
      positive_offset: this.positiveOffset,
      positive_bucket_counts: this.positiveCounts,
      negative_offset: this.negativeOffset,
      negative_bucket_counts: this.negativeCounts,
      exemplars: this.exemplars.builder,
    });
  }

  /** Appends everything but the buckets. A point without a recorded value keeps its identity alone. */
  appendFields(f: HistogramFields): void {
    const recorded = (f.flags & NO_RECORDED_VALUE) === 0;
    this.shared.appendPoint(f.timeLow, f.timeHigh, f.startLow, f.startHigh, f.flags);
    if (recorded) this.count.append(f.countLow, f.countHigh);
    else this.count.appendNull();
    appendOptional(this.sum, recorded ? f.sum : undefined);
    appendOptional(this.min, recorded ? f.min : undefined);
    appendOptional(this.max, recorded ? f.max : undefined);
    this.exemplars.endRow();
  }

  /** Refuses the open row and takes back its list elements. */
  reject(refusal: Refusal): void {
    for (const list of [this.bucketCounts, this.explicitBounds, this.positiveCounts, this.negativeCounts]) list.dropRow();
    this.exemplars.dropRow();
    this.shared.reject(refusal);
  }

  finish(keep: Keep): TableBatch {
    this.shared.pad();
    this.exemplars.builder.padNulls(this.shared.rows);
    return this.shared.finish(keep);
  }

  reset(): void {
    this.shared.reset();
    this.exemplars.reset();
  }
}

export function appendOptional(column: NumberBuilder<Float64Array>, value: number | undefined): void {
  if (value === undefined) column.appendNull();
  else column.append(value);
}

/** Appends the packed fixed64 values in [start, end) (PB2). */
export function appendPacked64(column: ReturnType<typeof uint64Builder>, wire: Wire, start: number, end: number): void {
  requireWhole(start, end);
  for (let p = start; p < end; ) {
    p = wire.fixed64(p, end);
    column.append(wire.low, wire.high);
  }
}

/** Appends the packed doubles in [start, end) (PB2). */
export function appendPackedDoubles(column: NumberBuilder<Float64Array>, wire: Wire, start: number, end: number): void {
  requireWhole(start, end);
  for (let p = start; p < end; p += 8) column.append(wire.doubleAt(p));
}
