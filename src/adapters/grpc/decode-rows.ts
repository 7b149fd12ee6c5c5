/**
 * The form `rows` of a write. Values are gathered by column and kind while the message is walked; what a column makes of them is
 * decided under the table's schema, by the same rules as for Arrow. A row is wholly in or wholly out.
 */
import { type Data, makeData, type RecordBatch, TimestampNanosecond } from 'apache-arrow';
import { NumberBuilder } from '../../columnar/builders';
import { utf8Builder } from '../../columnar/bytes-builder';
import { concatRows, expandDictionary, wholeBatch } from '../../columnar/concat';
import type { ForeignField } from '../../columnar/foreign-schema';
import { dictionaryData } from '../../columnar/nested-builders';
import { columnData, recordBatch } from '../../columnar/record-batch';
import type { DecodedRequest } from '../../core/batch';
import { METRICS_EVENTS } from '../../core/builtin-tables';
import { IngestError } from '../../core/errors';
import { LIMITS } from '../../core/limits';
import type { ColumnSchema, ColumnType, TableSchema } from '../../core/table-schema';
import { ConflictingValues, jsonTexts } from '../arrow-conflicts';
import { convertColumn } from '../arrow-convert';
import { decodeArrowBatches, type Refusal } from '../arrow-rows';
import { columnTypeOf } from '../arrow-types';
import { jsonProblem } from '../arrow-values';
import type { CellProblem } from '../cell-problem';
import { aliasesOf, isBuiltin, overflowColumn } from '../friendly-names';
import { newColumns, newNameProblem } from '../new-columns';
import type { Parking } from '../row-rejections';
import type { NamedRows } from '../schema-on-write';
import type { Wire } from '../wire';
import type { Span } from './fields';
import * as foreign from './foreign-fields';
import { nestedText, nestedWriter } from './nested-values';
import { overflowAttributes } from './row-attributes';
import { LaneColumns, type NestedLane, type RowColumn, type ScalarLane } from './row-column';
import { parseRows } from './row-parser';

/** The rows of the message. Throws IngestError `invalid_argument` or `payload_too_large`. */
export function readRows(wire: Wire, spans: readonly Span[], context: { readonly arrivalNs: bigint }): NamedRows {
  const { columns, rows, refused } = parseRows(wire, spans);
  const lanes = new LaneColumns();
  return {
    infer: (known) => {
      if (known !== undefined && isBuiltin(known.table)) return { columns: [], timeColumn: known.timeColumn };
      const types = new Map<string, ColumnType>();
      for (const column of columns) {
        const type = column.inferredType();
        if (type !== undefined) types.set(column.name, type);
      }
      return newColumns(types, known);
    },
    decode: (schema, parking) =>
      new RowsDecoder(wire, columns, rows, lanes, schema, refused).decode({ arrivalNs: context.arrivalNs, parking }),
  };
}

class RowsDecoder {
  private readonly refused: Map<number, Refusal>;
  private readonly conflicts: ConflictingValues;
  private readonly fields: ForeignField[] = [];
  private readonly data: { name: string; data: Data }[] = [];

  constructor(
    private readonly wire: Wire,
    private readonly columns: readonly RowColumn[],
    private readonly rows: number,
    private readonly lanes: LaneColumns,
    private readonly schema: TableSchema,
    refused: ReadonlyMap<number, Refusal>,
  ) {
    this.refused = new Map(refused);
    this.conflicts = new ConflictingValues(schema, this.refuse);
  }

  decode({ arrivalNs, parking }: { readonly arrivalNs: bigint; readonly parking: Parking }): DecodedRequest {
    if (this.rows === 0) return { batches: [], acceptedRows: 0, rejectedRows: 0, rejections: [] };
    const { own, rest } = this.assign();
    if (this.rows * own.size * 8 > LIMITS.walFrameBytesMax) {
      throw new IngestError('payload_too_large', `the rows take more than ${LIMITS.walFrameBytesMax} bytes`);
    }
    const overflow = overflowColumn(this.schema);
    for (const [target, column] of own) if (target.name !== overflow) this.take(target, column);
    if (overflow === undefined) for (const column of rest) this.placeUnknown(column);
    else this.takeOverflow(overflow, [...own].find(([{ name }]) => name === overflow)?.[1], rest);
    if (this.data.length === 0) this.addEmptyTime();
    const { fields, data, schema, refused, conflicts } = this;
    const context = { arrivalNs, begun: { refused, conflicts }, parking, asTheyCame: () => this.asTheyCame() };
    return decodeArrowBatches(fields, [recordBatch(data)], schema, context);
  }

  /**
   * The rows in columns of their own types; JSON where a column has values of several types, and for lists and maps. Undefined when
   * no row has a value.
   */
  private asTheyCame(): { batch: RecordBatch; jsonColumns: readonly string[] } | undefined {
    const jsonColumns: string[] = [];
    const columns = this.columns
      .filter(({ lanes }) => lanes.length > 0)
      .map(({ name, lanes }) => {
        const [only] = lanes;
        if (lanes.length > 1 || only.kind === 'json' || !('builder' in only)) jsonColumns.push(name);
        if (lanes.length === 1 && 'builder' in only) return { name, data: this.spread(this.lanes.of(name, only).data, [only]) };
        const texts = lanes.map((lane) => this.textsOf(name, lane));
        return { name, data: this.spread(joined(texts), lanes) };
      });
    return columns.length === 0 ? undefined : { batch: recordBatch(columns), jsonColumns };
  }

  /** The values of a lane as JSON texts. */
  private textsOf(name: string, lane: ScalarLane | NestedLane): Data {
    const { text } = this.valuesOf(name, lane);
    const builder = utf8Builder(lane.rows.length);
    for (let at = 0; at < lane.rows.length; at++) {
      const json = text(at);
      if (json === undefined) builder.appendNull();
      else builder.appendString(json);
    }
    return builder.finish();
  }

  private readonly refuse = (row: number, column: string, problem: CellProblem): void => {
    if (!this.refused.has(row)) this.refused.set(row, { problem, column });
  };

  /** Which column of the rows goes where: its own name goes before an alias. */
  private assign(): { own: Map<ColumnSchema, RowColumn>; rest: RowColumn[] } {
    const filled = this.columns.filter(({ lanes }) => lanes.length > 0);
    const byName = new Map(this.schema.columns.map((column) => [column.name, column]));
    const aliases = new Map(aliasesOf(this.schema));
    const own = new Map<ColumnSchema, RowColumn>();
    const rest: RowColumn[] = [];
    for (const column of filled) {
      const target = byName.get(column.name);
      if (target !== undefined) own.set(target, column);
    }
    for (const column of filled) {
      if (byName.has(column.name)) continue;
      const target = byName.get(aliases.get(column.name) ?? '');
      if (target === undefined || own.has(target)) rest.push(column);
      else own.set(target, column);
    }
    return { own, rest };
  }

  private add(field: ForeignField, data: Data): void {
    this.fields.push(field);
    this.data.push({ name: field.name, data });
  }

  private take(target: ColumnSchema, column: RowColumn): void {
    const { name } = target;
    const [only] = column.lanes;
    // A document that is set aside is one there too, not a text.
    const isPlain = target.conflict !== 'side_column' || only.kind !== 'json';
    if (column.lanes.length === 1 && 'builder' in only && isPlain) {
      // As it is: what follows from a value's type (the exact value of a metric) is decided where Arrow columns are decoded.
      const { field, data } = this.lanes.of(name, only);
      this.add({ ...field, name }, this.spread(data, [only]));
      return;
    }
    // A lane of which nothing fits says nothing, and may not have the column's form.
    const parts = column.lanes
      .map((lane) => ({ lane, data: this.convert(lane, target, column) }))
      .filter(({ data }) => data.nullCount < data.length);
    if (parts.length === 0) return;
    const values = joined(parts.map(({ data }) => data));
    const lanes = parts.map(({ lane }) => lane);
    this.add(foreign.fieldOfType(name, target.type), this.spread(values, lanes));
    if (this.schema.table === METRICS_EVENTS.table && name === 'value') this.addExact(column);
  }

  /** The integers of a metric whose values are integers and doubles. */
  private addExact(column: RowColumn): void {
    const lane = column.lanes.find(({ kind }) => kind === 'int');
    if (lane === undefined || !('builder' in lane) || this.columns.some(({ name }) => name === 'value_int')) return;
    const { field, data } = this.lanes.of('value_int', lane);
    this.add({ ...field, name: 'value_int' }, this.spread(data, [lane]));
  }

  /** The values of a lane in the form of the column. */
  private convert(lane: ScalarLane | NestedLane, target: ColumnSchema, column: RowColumn): Data {
    const { name, type } = target;
    const value = this.valuesOf(name, lane);
    const report = (at: number, problem: CellProblem): void =>
      this.conflicts.misfit(lane.rows[at], target, problem, { text: () => value.text(at), type: value.type }, column.name);
    if ('spans' in lane) return this.nested(lane, target, report);
    const { field, data } = this.lanes.of(name, lane);
    return convertColumn(data, field, type, report);
  }

  /** The values of a lane as JSON text, undefined for one that cannot be read, and what they are. */
  private valuesOf(name: string, lane: ScalarLane | NestedLane): LaneValues {
    if ('spans' in lane) return { text: (at) => nestedText(this.wire, lane, at), type: () => 'json' };
    const { field, data } = this.lanes.of(name, lane);
    let texts: ReturnType<typeof jsonTexts> | undefined;
    const text = (at: number): string | undefined => (texts ??= jsonTexts({ field, data }))(at);
    if (lane.kind !== 'json') return { text, type: () => columnTypeOf(field) };
    return { text: (at) => documentText(text(at)), type: () => 'json' };
  }

  private nested(lane: NestedLane, { type, conflict }: ColumnSchema, report: (at: number, problem: CellProblem) => void): Data {
    // Text in place of any value is JSON for lists and maps, as in a JSON column.
    const written = type === 'string' && conflict === 'coerce' ? 'json' : type;
    const { builder, put } = nestedWriter(this.wire, lane.kind, written);
    for (let at = 0; at < lane.rows.length; at++) {
      const problem = put({ start: lane.spans[at * 2], stop: lane.spans[at * 2 + 1] });
      if (problem === undefined) continue;
      report(at, problem);
      builder.appendNull();
    }
    return builder.finish();
  }

  /** Values of some rows as a column of all rows. */
  private spread(values: Data, lanes: readonly { readonly rows: readonly number[] }[]): Data {
    if (values.length === this.rows && lanes.length === 1) return values;
    const indexes = NumberBuilder.int32(this.rows);
    const positions = new Int32Array(this.rows).fill(-1);
    let at = 0;
    for (const { rows } of lanes) for (const row of rows) positions[row] = at++;
    for (const position of positions) {
      if (position < 0) indexes.appendNull();
      else indexes.append(position);
    }
    return expandDictionary(dictionaryData(indexes.finish(), values));
  }

  private placeUnknown(column: RowColumn): void {
    const { name } = column;
    const message = newNameProblem(name, this.schema);
    for (const lane of column.lanes) {
      const values = this.valuesOf(name, lane);
      for (const [at, row] of lane.rows.entries()) {
        if (message === undefined) this.conflicts.unknown(row, name, () => values.text(at));
        else this.refuse(row, name, { code: 'invalid_name', message });
      }
    }
  }

  private takeOverflow(overflow: string, explicit: RowColumn | undefined, rest: readonly RowColumn[]): void {
    if (explicit === undefined && rest.length === 0) return;
    const { wire, rows, lanes, refuse } = this;
    const data = overflowAttributes(wire, rows, { explicit, columns: rest, lanes, refuse });
    this.add(foreign.mapField(overflow), data);
  }

  /** Rows without any value still are rows. */
  private addEmptyTime(): void {
    const { rows } = this;
    const nothing = new Uint8Array((rows + 7) >> 3);
    const type = new TimestampNanosecond('UTC');
    const data = makeData({ type, length: rows, nullCount: rows, nullBitmap: nothing, data: new BigInt64Array(rows) });
    this.add(foreign.fieldOf(this.schema.timeColumn, foreign.TIMESTAMP), data);
  }
}

interface LaneValues {
  readonly text: (at: number) => string | undefined;
  readonly type: () => ColumnType | undefined;
}

/** The JSON document that a JSON string holds, undefined when it holds none. */
function documentText(text: string | undefined): string | undefined {
  const document = text === undefined ? undefined : String(JSON.parse(text));
  return document === undefined || jsonProblem(Buffer.from(document)) !== undefined ? undefined : document;
}

function joined(parts: readonly Data[]): Data {
  if (parts.length === 1) return parts[0];
  const batch = concatRows(parts.map((data) => wholeBatch(recordBatch([{ name: 'value', data }]))));
  const data = columnData(batch, 'value');
  if (data === undefined) throw new Error('joined values are missing');
  return data;
}
