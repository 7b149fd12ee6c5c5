/**
 * The dictionaries of a foreign stream (Arrow columnar format, "Dictionary Messages"): given, replaced, and grown by deltas. The
 * pieces of a grown one are joined when a batch asks for it.
 */
import type { Data } from 'apache-arrow';
import { concatRows, wholeBatch } from './concat';
import type { RequestBudget } from './foreign-budget';
import { corrupt } from './foreign-error';
import type { ForeignField } from './foreign-schema';
import { columnData, recordBatch } from './record-batch';

export class ForeignDictionaries {
  /** Dictionary id -> the field that describes its values. */
  private readonly fields = new Map<number, ForeignField>();
  private readonly pieces = new Map<number, Data[]>();

  constructor(private readonly budget: RequestBudget) {}

  /** Bytes of all values. */
  get sizeBytes(): number {
    let bytes = 0;
    for (const pieces of this.pieces.values()) for (const values of pieces) bytes += values.byteLength;
    return bytes;
  }

  /** What all dictionaries hold now, in the order of their ids. */
  *all(): Generator<Data> {
    for (const id of [...this.pieces.keys()].sort((a, b) => a - b)) {
      const values = this.values(id);
      if (values !== undefined) yield values;
    }
  }

  /** Notes which fields have dictionaries. Throws IngestError when two of different types share one. */
  describe(fields: readonly ForeignField[]): void {
    for (const field of fields) {
      this.describe(field.children);
      if (field.dictionary === undefined) continue;
      const { id } = field.dictionary;
      const known = this.fields.get(id);
      if (known !== undefined && shape(known) !== shape(field)) {
        throw corrupt(`the dictionary ${id} is used for values of different types`);
      }
      this.fields.set(id, field);
    }
  }

  fieldOf(id: number): ForeignField | undefined {
    return this.fields.get(id);
  }

  /** The values at this moment; undefined before the first of them came. Throws IngestError `payload_too_large`. */
  values(id: number): Data | undefined {
    const pieces = this.pieces.get(id);
    if (pieces === undefined || pieces.length === 1) return pieces?.[0];
    this.budget.takeJoined(pieces.reduce((bytes, values) => bytes + values.byteLength, 0));
    const joined = joinValues(pieces);
    this.pieces.set(id, [joined]);
    return joined;
  }

  /** The values from now on. Dictionaries over this one must come again: their values were those of the old one. */
  replace(id: number, values: Data): void {
    if (this.pieces.has(id)) {
      for (const [other, field] of this.fields) if (refersTo(field.children, id)) this.pieces.delete(other);
    }
    this.pieces.set(id, [values]);
  }

  /** More values behind those that there are. */
  append(id: number, values: Data): void {
    const pieces = this.pieces.get(id);
    if (pieces === undefined) this.pieces.set(id, [values]);
    else pieces.push(values);
  }
}

const refersTo = (fields: readonly ForeignField[], id: number): boolean =>
  fields.some((field) => field.dictionary?.id === id || refersTo(field.children, id));

/** What the values of a field look like, names aside. */
const shape = (field: ForeignField): string =>
  JSON.stringify([
    field.type,
    field.isLarge,
    field.isView === true,
    field.byteWidth,
    field.listSize ?? 0,
    field.ticks === undefined ? 0 : [Number(field.ticks.ns), field.ticks.bits],
    field.children.map((child) => [child.dictionary?.id ?? -1, shape(child)]),
  ]);

function joinValues(pieces: readonly Data[]): Data {
  const joined = concatRows(pieces.map((data) => wholeBatch(recordBatch([{ name: 'value', data }]))));
  const data = columnData(joined, 'value');
  if (data === undefined) throw new Error('joined values are missing');
  return data;
}
