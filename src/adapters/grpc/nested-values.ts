/** Lists and maps of rows, in the form that the column's type asks for. */
import { AttributesBuilder } from '../../columnar/attributes';
import { type ColumnBuilder, type Int64Builder, int64Builder, NumberBuilder, uint64Builder } from '../../columnar/builders';
import { type BytesBuilder, utf8Builder } from '../../columnar/bytes-builder';
import { ListBuilder } from '../../columnar/nested-builders';
import { IngestError } from '../../core/errors';
import { ATTRIBUTE_KIND, type ColumnType } from '../../core/table-schema';
import { type CellProblem, mismatch, outOfRange } from '../cell-problem';
import type { Wire } from '../wire';
import { type Span, textOf } from './fields';
import type { NestedLane } from './row-column';
import { type Attribute, emptyValue, int64, itemsOf, nestedJson, type ReadValue, readValue, writeEntries } from './value';

/** `put` appends the value, or gives the problem and appends nothing. */
export interface NestedWriter {
  readonly builder: ColumnBuilder;
  readonly put: (span: Span) => CellProblem | undefined;
}

/** Writes the contents of `ListValue`s or `MapValue`s. A pair of kind and type that does not go together refuses every value. */
export function nestedWriter(wire: Wire, kind: 'list' | 'map', type: ColumnType): NestedWriter {
  if (type === 'json') return jsonWriter(wire, kind);
  if (kind === 'map' && type === 'attributes') return attributesWriter(wire);
  const problem = mismatch(type);
  return (kind === 'list' ? LISTS[type]?.(wire) : undefined) ?? { builder: utf8Builder(), put: () => problem };
}

const LISTS: Partial<Record<ColumnType, (wire: Wire) => NestedWriter>> = {
  'list<int64>': (wire) => listWriter(wire, int64Builder(), appendInt),
  'list<uint64>': (wire) => listWriter(wire, uint64Builder(), appendUint),
  'list<float64>': (wire) => listWriter(wire, NumberBuilder.float64(), appendDouble),
  'list<string>': (wire) => listWriter(wire, utf8Builder(), appendString),
};

function jsonWriter(wire: Wire, kind: 'list' | 'map'): NestedWriter {
  const builder = utf8Builder();
  const put = (span: Span): CellProblem | undefined =>
    sound(() => {
      builder.appendString(nestedJson(wire, kind, span));
      return undefined;
    });
  return { builder, put };
}

function attributesWriter(wire: Wire): NestedWriter {
  const builder = new AttributesBuilder();
  const put = (span: Span): CellProblem | undefined => {
    const problem = readEntries(wire, span, builder);
    if (problem === undefined) builder.endRow();
    return problem;
  };
  return { builder, put };
}

/** Writes the entries to the open row; after a problem there are none of them. */
export function readEntries(wire: Wire, map: Span, builder: AttributesBuilder): CellProblem | undefined {
  const problem = sound(() => {
    writeEntries(wire, map, builder);
    return undefined;
  });
  if (problem !== undefined) builder.dropRow();
  return problem;
}

/** A list or a map as one attribute. */
export function nestedAttribute(wire: Wire, kind: 'list' | 'map', span: Span): Attribute | CellProblem {
  return sound(() => ({
    kind: kind === 'list' ? ATTRIBUTE_KIND.array : ATTRIBUTE_KIND.kvlist,
    text: nestedJson(wire, kind, span),
  }));
}

/** A value of a lane as JSON text; undefined when it cannot be read. */
export function nestedText(wire: Wire, { kind, spans }: NestedLane, at: number): string | undefined {
  const text = sound(() => nestedJson(wire, kind, { start: spans[at * 2], stop: spans[at * 2 + 1] }));
  return typeof text === 'string' ? text : undefined;
}

/** What cannot be read inside a value refuses its row. */
function sound<T>(write: () => T): T | CellProblem {
  try {
    return write();
  } catch (error) {
    if (!(error instanceof IngestError) || error.code !== 'invalid_argument') throw error;
    return { code: 'invalid_value', message: error.message };
  }
}

type ItemBuilder = ConstructorParameters<typeof ListBuilder>[0];
type AppendItem<B> = (wire: Wire, item: ReadValue, items: B) => CellProblem | undefined;

function listWriter<B extends ItemBuilder>(wire: Wire, items: B, append: AppendItem<B>): NestedWriter {
  const builder = new ListBuilder(items);
  const item = emptyValue();
  const put = (span: Span): CellProblem | undefined => {
    const problem = sound(() => {
      for (const { start, stop } of itemsOf(wire, span)) {
        readValue(wire, start, stop, item);
        const wrong = item.kind === 'null' ? NO_NULLS : append(wire, item, items);
        if (wrong !== undefined) return wrong;
      }
      return undefined;
    });
    if (problem === undefined) builder.endRow();
    else builder.dropRow();
    return problem;
  };
  return { builder, put };
}

const NO_NULLS = mismatch('an array without null');

function appendInt(_wire: Wire, { kind, low, high }: ReadValue, items: Int64Builder): CellProblem | undefined {
  if (kind !== 'int' && kind !== 'uint') return mismatch('integers');
  if (kind === 'uint' && high < 0) return outOfRange('int64');
  items.append(low, high);
  return undefined;
}

function appendUint(_wire: Wire, { kind, low, high }: ReadValue, items: Int64Builder): CellProblem | undefined {
  if (kind !== 'int' && kind !== 'uint') return mismatch('integers');
  if (kind === 'int' && high < 0) return outOfRange('uint64');
  items.append(low, high);
  return undefined;
}

function appendDouble(
  _wire: Wire,
  { kind, low, high, double }: ReadValue,
  items: NumberBuilder<Float64Array>,
): CellProblem | undefined {
  if (kind === 'double') items.append(double);
  else if (kind === 'int' || kind === 'uint')
    items.append(Number(kind === 'int' ? int64(low, high) : BigInt.asUintN(64, int64(low, high))));
  else return mismatch('numbers');
  return undefined;
}

function appendString(wire: Wire, item: ReadValue, items: BytesBuilder): CellProblem | undefined {
  if (item.kind !== 'string') return mismatch('strings');
  items.appendString(textOf(wire, item));
  return undefined;
}
