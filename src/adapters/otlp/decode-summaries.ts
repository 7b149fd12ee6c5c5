import { NumberBuilder, uint64Builder } from '../../columnar/builders';
import { ListBuilder } from '../../columnar/nested-builders';
import type { Keep } from '../../columnar/slab';
import type { TableBatch } from '../../core/batch';
import { METRICS_SUMMARIES } from '../../core/builtin-tables';
import type { ValueReader } from './any-value';
import { MetricTable, NO_RECORDED_VALUE, type PointReader, refuseTimes } from './metric-table';
import type { RowTally } from './rejections';
import { SUMMARY_POINT, validate } from './validate';

const TAG = { startTime: 0x11, time: 0x19, count: 0x21, sum: 0x29, quantileValues: 0x32, attributes: 0x3a, flags: 0x40 } as const;

const QUANTILE_TAG = { quantile: 0x09, value: 0x11 } as const;

/** SummaryDataPoint -> `metrics_summaries`. */
export class SummaryPoints implements PointReader {
  readonly table: MetricTable;
  private readonly count = uint64Builder();
  private readonly sum = NumberBuilder.float64();
  private readonly quantiles = new ListBuilder(NumberBuilder.float64());
  private readonly quantileValues = new ListBuilder(NumberBuilder.float64());

  constructor(
    private readonly values: ValueReader,
    tally: RowTally,
  ) {
    this.table = new MetricTable(METRICS_SUMMARIES, values, tally, 16, {
      count: this.count,
      sum: this.sum,
      quantiles: this.quantiles,
      quantile_values: this.quantileValues,
    });
  }

  point(start: number, end: number): void {
    const { table } = this;
    const { wire } = this.values;
    let timeLow = 0;
    let timeHigh = 0;
    let startLow = 0;
    let startHigh = 0;
    let countLow = 0;
    let countHigh = 0;
    let sum = 0;
    let flags = 0;
    let p = start;
    while (p < end) {
      p = wire.tag(p, end);
      const tag = wire.low;
      switch (tag) {
        case TAG.startTime:
          p = wire.fixed64(p, end);
          startLow = wire.low;
          startHigh = wire.high;
          break;
        case TAG.time:
          p = wire.fixed64(p, end);
          timeLow = wire.low;
          timeHigh = wire.high;
          break;
        case TAG.count:
          p = wire.fixed64(p, end);
          countLow = wire.low;
          countHigh = wire.high;
          break;
        case TAG.sum:
          p = wire.fixed64(p, end);
          sum = wire.doubleAt(p - 8);
          break;
        case TAG.flags:
          p = wire.varint(p, end);
          flags = wire.low;
          break;
        case TAG.quantileValues:
        case TAG.attributes: {
          p = wire.open(p, end);
          const { stop } = wire;
          if (tag === TAG.attributes) table.labels.add(p, stop);
          else this.readQuantile(p, stop);
          p = stop;
          break;
        }
        default:
          p = wire.skip(tag, p, end);
      }
    }
    const refusal = refuseTimes(timeLow, timeHigh, startHigh);
    if (refusal !== undefined) {
      validate(wire, start, end, SUMMARY_POINT);
      this.quantiles.dropRow();
      this.quantileValues.dropRow();
      return table.reject(refusal);
    }
    table.appendPoint(timeLow, timeHigh, startLow, startHigh, flags);
    this.quantiles.endRow();
    this.quantileValues.endRow();
    if ((flags & NO_RECORDED_VALUE) === 0) {
      this.count.append(countLow, countHigh);
      this.sum.append(sum);
    } else {
      this.count.appendNull();
      this.sum.appendNull();
    }
  }

  private readQuantile(start: number, end: number): void {
    const { wire } = this.values;
    let quantile = 0;
    let value = 0;
    let p = start;
    while (p < end) {
      p = wire.tag(p, end);
      const tag = wire.low;
      if (tag === QUANTILE_TAG.quantile || tag === QUANTILE_TAG.value) {
        p = wire.fixed64(p, end);
        if (tag === QUANTILE_TAG.quantile) quantile = wire.doubleAt(p - 8);
        else value = wire.doubleAt(p - 8);
      } else p = wire.skip(tag, p, end);
    }
    this.quantiles.items.append(quantile);
    this.quantileValues.items.append(value);
  }

  finish(keep: Keep): TableBatch {
    this.table.pad();
    return this.table.finish(keep);
  }

  reset(): void {
    this.table.reset();
  }
}
