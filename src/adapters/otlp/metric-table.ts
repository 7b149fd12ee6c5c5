import type { AttributesBuilder } from '../../columnar/attributes';
import { type ColumnBuilder, NumberBuilder, timestampBuilder } from '../../columnar/builders';
import { InternedBuilder } from '../../columnar/interned';
import { DictionaryBuilder } from '../../columnar/nested-builders';
import type { Keep } from '../../columnar/slab';
import type { TableBatch } from '../../core/batch';
import type { TableSchema } from '../../core/table-schema';
import type { ValueReader } from './any-value';
import { AttributeColumn } from './attribute-column';
import { EnumColumn } from './enum-column';
import type { Origin, Range } from './envelope';
import { OriginColumns } from './origin';
import { type Refusal, type RowTally, timeTooLate } from './rejections';
import { TableColumns } from './table-batch';

const TEMPORALITIES = ['unspecified', 'delta', 'cumulative'];

/** DataPointFlags.NO_RECORDED_VALUE_MASK; the other bits may be set (OD4). */
export const NO_RECORDED_VALUE = 1;

/** What stands above the points of one Metric message. */
export interface MetricInfo {
  readonly name: Range;
  readonly description: Range;
  readonly unit: Range;
  readonly kind: MetricKind;
  /** Undefined for kinds that have none. */
  readonly temporality: number | undefined;
  /** Undefined for every kind but sums. */
  readonly monotonic: boolean | undefined;
  /** KeyValue messages. */
  readonly metadata: readonly Range[];
}

export type MetricKind = 'gauge' | 'sum' | 'histogram' | 'exponential_histogram' | 'summary';

/** Reads the points of one kind into their table. */
export interface PointReader {
  readonly table: MetricTable;
  /** One data point: a row, or a rejection. */
  point(start: number, end: number): void;
}

const NO_TIME: Refusal = { code: 'invalid_time', column: 'time', message: 'a data point has a time' };
const LATE_TIME = timeTooLate('time');
const LATE_START = timeTooLate('start_time');

/** OD1, and the range of 64-bit nanoseconds. */
export function refuseTimes(timeLow: number, timeHigh: number, startHigh: number): Refusal | undefined {
  if ((timeLow | timeHigh) === 0) return NO_TIME;
  if (timeHigh < 0) return LATE_TIME;
  return startHigh < 0 ? LATE_START : undefined;
}

/** The columns that all metric tables share, and where the rows of the open Metric and Scope* began. */
export class MetricTable {
  rows = 0;
  private readonly time;
  private readonly startTime;
  readonly labels: AttributeColumn;
  private readonly flags;
  private readonly metric;
  private readonly description;
  private readonly unit;
  private readonly kind;
  private readonly temporality;
  private readonly metadata: DictionaryBuilder<AttributesBuilder>;
  private readonly metadataValues: AttributeColumn;
  private readonly origin: OriginColumns;
  private readonly columns: TableColumns;

  constructor(
    private readonly schema: TableSchema,
    private readonly values: ValueReader,
    private readonly tally: RowTally,
    capacity: number,
    /** The columns of this kind of point. */
    own: Readonly<Record<string, ColumnBuilder>>,
  ) {
    this.time = timestampBuilder(capacity);
    this.startTime = timestampBuilder(capacity);
    this.labels = new AttributeColumn(values, capacity);
    this.flags = NumberBuilder.uint32(capacity);
    this.metric = new InternedBuilder(capacity);
    this.description = new InternedBuilder(capacity);
    this.unit = new InternedBuilder(capacity);
    this.kind = new InternedBuilder(capacity);
    this.temporality = new EnumColumn(TEMPORALITIES, capacity);
    this.metadataValues = new AttributeColumn(values);
    this.metadata = new DictionaryBuilder(this.metadataValues.builder, capacity);
    this.origin = new OriginColumns(values, capacity);
    this.columns = new TableColumns(schema, {
      time: this.time,
      app: this.origin.app,
      host: this.origin.host,
      labels: this.labels.builder,
      metric: this.metric,
      description: this.description,
      unit: this.unit,
      kind: this.kind,
      start_time: this.startTime,
      temporality: this.temporality.builder,
      flags: this.flags,
      metadata: this.metadata,
      resource: this.origin.resource,
      scope: this.origin.scope,
      ...own,
    });
  }

  /** Closes a row with what every kind of point has; gives its position in the table. */
  appendPoint(timeLow: number, timeHigh: number, startLow: number, startHigh: number, flags: number): number {
    this.tally.accept();
    const row = this.rows++;
    this.time.append(timeLow, timeHigh);
    if ((startLow | startHigh) !== 0) {
      this.startTime.padNulls(row);
      this.startTime.append(startLow, startHigh);
    }
    if (flags !== 0) {
      this.flags.padZeros(row);
      this.flags.append(flags);
    }
    this.labels.endRow();
    return row;
  }

  /** Refuses the open row. What other columns hold of it is the caller's to take back. */
  reject(refusal: Refusal): void {
    this.labels.dropRow();
    this.tally.reject(refusal, this.schema.table);
  }

  /** The rows since the last call are points of this metric; gives their number. */
  endMetric(info: MetricInfo): number {
    const count = this.rows - this.metric.length;
    if (count === 0) return 0;
    this.appendText(this.metric, info.name, count, false);
    this.appendText(this.description, info.description, count, true);
    this.appendText(this.unit, info.unit, count, true);
    this.kind.appendRun(this.kind.interner.internString(info.kind), count);
    if (info.temporality === undefined) this.temporality.builder.appendRun(-1, count);
    else this.temporality.appendRun(info.temporality, count);
    this.appendMetadata(info.metadata, count);
    return count;
  }

  private appendText(column: InternedBuilder, { start, end }: Range, count: number, emptyIsNull: boolean): void {
    column.appendRun(start === end && emptyIsNull ? -1 : column.internFrom(this.values.wire, start, end), count);
  }

  private appendMetadata(metadata: readonly Range[], count: number): void {
    if (metadata.length === 0) return this.metadata.appendNulls(count);
    for (const { start, end } of metadata) this.metadataValues.add(start, end);
    this.metadataValues.endRow();
    this.metadata.appendRun(this.metadataValues.builder.length - 1, count);
  }

  endScope(origin: Origin): void {
    this.origin.append(origin, this.rows - this.origin.app.length);
  }

  /** Fills up the columns that the last rows said nothing about. */
  pad(): void {
    this.startTime.padNulls(this.rows);
    this.flags.padZeros(this.rows);
  }

  finish(keep: Keep): TableBatch {
    return this.columns.finish(keep);
  }

  reset(): void {
    this.rows = 0;
    this.labels.reset();
    this.metadataValues.reset();
    this.origin.reset();
    this.columns.reset();
  }
}
