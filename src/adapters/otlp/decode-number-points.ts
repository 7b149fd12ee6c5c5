import { BoolBuilder, int64Builder, NumberBuilder } from '../../columnar/builders';
import type { Keep } from '../../columnar/slab';
import type { TableBatch } from '../../core/batch';
import { METRICS_EVENTS } from '../../core/builtin-tables';
import type { ValueReader } from './any-value';
import { writeExemplar } from './exemplars';
import { JsonListColumn } from './json-list';
import { MetricTable, NO_RECORDED_VALUE, type PointReader, refuseTimes } from './metric-table';
import { type Refusal, type RowTally, timeTooLate } from './rejections';
import { NUMBER_POINT, validate } from './validate';

const TAG = {
  startTime: 0x11,
  time: 0x19,
  asDouble: 0x21,
  exemplars: 0x2a,
  asInt: 0x31,
  attributes: 0x3a,
  flags: 0x40,
} as const;

const NO_VALUE: Refusal = {
  code: 'invalid_value',
  column: 'value',
  message: 'a point has a value unless it is flagged as not recorded',
};
const LATE_EXEMPLAR = timeTooLate('exemplars');

/** NumberDataPoint (gauges and sums) -> `metrics_events`. */
export class NumberPoints implements PointReader {
  readonly table: MetricTable;
  private readonly value;
  private readonly valueInt;
  private readonly monotonic = new BoolBuilder();
  private readonly exemplars = new JsonListColumn();

  constructor(
    private readonly values: ValueReader,
    tally: RowTally,
    capacity: number,
  ) {
    this.value = NumberBuilder.float64(capacity);
    this.valueInt = int64Builder(capacity);
    this.table = new MetricTable(METRICS_EVENTS, values, tally, capacity, {
      value: this.value,
      value_int: this.valueInt,
      monotonic: this.monotonic,
      exemplars: this.exemplars.builder,
    });
  }

  point(start: number, end: number): void {
    const { values, table } = this;
    const { wire } = values;
    const { bytes } = wire;
    let timeLow = 0;
    let timeHigh = 0;
    let startLow = 0;
    let startHigh = 0;
    /** Tag of the last member of the oneof. */
    let member = 0;
    let low = 0;
    let high = 0;
    let double = 0;
    let flags = 0;
    let exemplarsFit = true;
    let p = start;
    while (p < end) {
      let tag = bytes[p++];
      if (tag >= 0x80) {
        p = wire.tag(p - 1, end);
        tag = wire.low;
      }
      switch (tag) {
        case TAG.attributes: {
          p = wire.open(p, end);
          const { stop } = wire;
          table.labels.add(p, stop);
          p = stop;
          break;
        }
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
        case TAG.asDouble:
          p = wire.fixed64(p, end);
          double = wire.doubleAt(p - 8);
          member = tag;
          break;
        case TAG.asInt:
          p = wire.fixed64(p, end);
          low = wire.low;
          high = wire.high;
          member = tag;
          break;
        case TAG.exemplars: {
          p = wire.open(p, end);
          const { stop } = wire;
          if (!writeExemplar(values, p, stop, this.exemplars.element(table.rows))) exemplarsFit = false;
          p = stop;
          break;
        }
        case TAG.flags:
          p = wire.varint(p, end);
          flags = wire.low;
          break;
        default:
          p = wire.skip(tag, p, end);
      }
    }
    const recorded = (flags & NO_RECORDED_VALUE) === 0;
    const refusal = refuseTimes(timeLow, timeHigh, startHigh) ?? refuseValue(member !== 0 || !recorded, exemplarsFit);
    if (refusal !== undefined) return this.reject(start, end, refusal);
    const row = table.appendPoint(timeLow, timeHigh, startLow, startHigh, flags);
    this.exemplars.endRow();
    if (!recorded) return;
    this.value.padNulls(row);
    if (member === TAG.asInt) {
      this.value.append(high * 0x1_0000_0000 + (low >>> 0));
      this.valueInt.padNulls(row);
      this.valueInt.append(low, high);
    } else this.value.append(double);
  }

  private reject(start: number, end: number, refusal: Refusal): void {
    validate(this.values.wire, start, end, NUMBER_POINT);
    this.exemplars.dropRow();
    this.table.reject(refusal);
  }

  /** The rows since the last call have this monotonicity. */
  endMetric(monotonic: boolean | undefined): void {
    while (this.monotonic.length < this.table.rows) {
      if (monotonic === undefined) this.monotonic.appendNull();
      else this.monotonic.append(monotonic);
    }
  }

  finish(keep: Keep): TableBatch {
    const { rows } = this.table;
    this.table.pad();
    for (const column of [this.value, this.valueInt, this.exemplars.builder]) column.padNulls(rows);
    return this.table.finish(keep);
  }

  reset(): void {
    this.table.reset();
    this.exemplars.reset();
  }
}

/** OD3. */
function refuseValue(valid: boolean, exemplarsFit: boolean): Refusal | undefined {
  if (!valid) return NO_VALUE;
  return exemplarsFit ? undefined : LATE_EXEMPLAR;
}
