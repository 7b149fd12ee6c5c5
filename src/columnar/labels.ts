/**
 * Labels (columns of attributes) that are not normal: too many in a row, a key that is empty, too long or holds NUL, a value that is
 * too long. Finding out that there is none costs a look at the keys' dictionary and at lengths, a few nanoseconds a row.
 */
import { type Data, DataType, Int32, makeData } from 'apache-arrow';
import { ATTRIBUTE_KIND } from '../core/table-schema';
import { AttributesBuilder } from './attributes';
import { dictionaryData } from './nested-builders';
import { type ColumnView, dictionaryValues, positionOf, viewColumn } from './read';
import { attributeJson } from './widen';

export interface LabelLimits {
  /** Labels of one row. */
  readonly countMax: number;
  readonly keyBytesMax: number;
  readonly valueBytesMax: number;
}

export type LabelProblem = 'too_many' | 'key_too_long' | 'illegal_key' | 'value_too_long';

/** What is left of abnormal labels: cut to the limits, or moved to the label OVERFLOW_LABEL as a JSON object. */
export type LabelRepair = 'truncate' | 'side_column';

/** The label that holds what was moved, as JSON. */
export const OVERFLOW_LABEL = '_overflow';
/** The label that tells what was cut. */
export const TRUNCATED_LABEL = '_truncated';

/** The label columns of plain or dictionary-encoded data: undefined for a column of another type. */
export function labelValues(data: Data): Data | undefined {
  const values = DataType.isDictionary(data.type) ? dictionaryValues(data) : data;
  return DataType.isMap(values.type) ? values : undefined;
}

/** What is wrong, by position among the label values; the first problem of each. Empty for normal labels. */
export function abnormalLabels(values: Data, limits: LabelLimits): ReadonlyMap<number, LabelProblem> {
  const labels = new Labels(values);
  const found = new Map<number, LabelProblem>();
  if (labels.areNormal(limits)) return found;
  for (let row = 0; row < values.length; row++) {
    const problem = labels.problemOf(row, limits);
    if (problem !== undefined) found.set(row, problem);
  }
  return found;
}

/** The column with normal labels: those at the positions in `bad` repaired. */
export function repairedLabels(data: Data, bad: ReadonlySet<number>, limits: LabelLimits, repair: LabelRepair): Data {
  const values = labelValues(data);
  if (values === undefined) throw new TypeError('only a column of labels can be repaired');
  const labels = new Labels(values);
  const builder = new AttributesBuilder();
  for (let row = 0; row < values.length; row++) {
    if (!bad.has(row)) labels.copy(row, builder);
    else if (repair === 'truncate') labels.truncate(row, builder, limits);
    else labels.moveAside(row, builder, limits);
    builder.endRow();
  }
  const repaired = builder.finish();
  if (!DataType.isDictionary(data.type)) return repaired;
  const { length, nullCount, nullBitmap } = data;
  const indexes = Int32Array.from(data.values as ArrayLike<number>);
  return dictionaryData(makeData({ type: new Int32(), length, nullCount, nullBitmap, data: indexes } as never), repaired);
}

const NUL = 0;

class Labels {
  private readonly offsets: Int32Array;
  private readonly keys: ColumnView;
  private readonly kinds: ColumnView;
  private readonly texts: ColumnView;

  constructor(values: Data) {
    const [key, value] = values.children[0].children;
    this.offsets = values.valueOffsets;
    this.keys = viewColumn(key);
    this.kinds = viewColumn(value.children[0]);
    this.texts = viewColumn(value.children[1]);
  }

  /** False when something may be wrong. */
  areNormal({ countMax, keyBytesMax, valueBytesMax }: LabelLimits): boolean {
    const { offsets } = this;
    const rows = offsets.length - 1;
    const entries = offsets[rows] - offsets[0];
    if (entries > countMax) for (let row = 0; row < rows; row++) if (offsets[row + 1] - offsets[row] > countMax) return false;
    return isWithin(this.texts, 0, valueBytesMax) && isWithin(this.keys, 1, keyBytesMax) && !holdsNul(this.keys);
  }

  problemOf(row: number, limits: LabelLimits): LabelProblem | undefined {
    const [start, end] = [this.offsets[row], this.offsets[row + 1]];
    for (let entry = start; entry < end; entry++) {
      const problem = this.entryProblem(entry, limits);
      if (problem !== undefined) return problem;
    }
    return end - start > limits.countMax ? 'too_many' : undefined;
  }

  copy(row: number, out: AttributesBuilder): void {
    for (let entry = this.offsets[row]; entry < this.offsets[row + 1]; entry++)
      this.put(out, entry, this.key(entry), this.text(entry));
  }

  /** The first `countMax` labels, keys and values cut to whole characters, NUL and an empty key replaced. */
  truncate(row: number, out: AttributesBuilder, limits: LabelLimits): void {
    const { countMax, keyBytesMax, valueBytesMax } = limits;
    const start = this.offsets[row];
    const end = this.offsets[row + 1];
    const problems = new Set<LabelProblem>(end - start > countMax ? ['too_many'] : []);
    for (let entry = start; entry < Math.min(end, start + countMax); entry++) {
      const problem = this.entryProblem(entry, limits);
      if (problem !== undefined) problems.add(problem);
      const text = this.text(entry);
      const kind = this.kind(entry);
      // A JSON text that is cut is a text.
      const isCut = text.length > valueBytesMax;
      const keyText = cut(this.key(entry), keyBytesMax).toString().replaceAll('\0', '\ufffd');
      out.key(out.keys.intern(...spanOf(Buffer.from(keyText === '' ? '_empty' : keyText))));
      const kept = isCut ? cut(text, valueBytesMax) : text;
      out.text.write(kept, 0, kept.length);
      out.endEntry(isCut && kind !== ATTRIBUTE_KIND.bytes ? ATTRIBUTE_KIND.string : kind);
    }
    putText(out, TRUNCATED_LABEL, [...problems].join(','), ATTRIBUTE_KIND.string);
  }

  /** Normal labels stay, up to `countMax`; the others become members of one. */
  moveAside(row: number, out: AttributesBuilder, limits: LabelLimits): void {
    const aside: string[] = [];
    let kept = 0;
    for (let entry = this.offsets[row]; entry < this.offsets[row + 1]; entry++) {
      const key = this.key(entry);
      if (kept < limits.countMax && this.entryProblem(entry, limits) === undefined && !OVERFLOW_KEY.equals(key)) {
        this.put(out, entry, key, this.text(entry));
        kept++;
      } else {
        aside.push(`${JSON.stringify(key.toString())}:${attributeJson(this.kind(entry), this.text(entry).toString())}`);
      }
    }
    putText(out, OVERFLOW_LABEL, `{${aside.join(',')}}`, ATTRIBUTE_KIND.kvlist);
  }

  private put(out: AttributesBuilder, entry: number, key: Buffer, text: Buffer): void {
    out.key(out.keys.intern(...spanOf(key)));
    out.text.write(text, 0, text.length);
    out.endEntry(this.kind(entry));
  }

  private entryProblem(entry: number, { keyBytesMax, valueBytesMax }: LabelLimits): LabelProblem | undefined {
    const key = this.key(entry);
    if (key.length > keyBytesMax) return 'key_too_long';
    if (key.length === 0 || key.includes(NUL)) return 'illegal_key';
    return this.text(entry).length > valueBytesMax ? 'value_too_long' : undefined;
  }

  private kind(entry: number): number {
    return (this.kinds.values.values as Uint8Array)[positionOf(this.kinds, entry)];
  }

  private key(entry: number): Buffer {
    return bytesAt(this.keys, entry);
  }

  private text(entry: number): Buffer {
    return bytesAt(this.texts, entry);
  }
}

const OVERFLOW_KEY = Buffer.from(OVERFLOW_LABEL);

const spanOf = (bytes: Buffer): [Uint8Array, number, number] => [new Uint8Array(bytes), 0, bytes.length];

function putText(out: AttributesBuilder, key: string, text: string, kind: number): void {
  out.key(out.keys.intern(...spanOf(Buffer.from(key))));
  out.text.writeString(text);
  out.endEntry(kind);
}

/** Has every one of the texts between `min` and `max` bytes? */
function isWithin({ values: { valueOffsets, length } }: ColumnView, min: number, max: number): boolean {
  if (min === 0 && valueOffsets[length] - valueOffsets[0] <= max) return true;
  for (let i = 0; i < length; i++) {
    const size = valueOffsets[i + 1] - valueOffsets[i];
    if (size > max || size < min) return false;
  }
  return true;
}

function holdsNul({ values: { valueOffsets, values, length } }: ColumnView): boolean {
  return (values as Uint8Array).subarray(valueOffsets[0], valueOffsets[length]).includes(NUL);
}

function bytesAt(view: ColumnView, entry: number): Buffer {
  const at = positionOf(view, entry);
  const { values, valueOffsets } = view.values;
  const bytes = values as Uint8Array;
  if (at < 0) return Buffer.alloc(0);
  return Buffer.from(bytes.buffer, bytes.byteOffset + valueOffsets[at], valueOffsets[at + 1] - valueOffsets[at]);
}

/** The beginning of a UTF-8 text, of whole characters. */
function cut(text: Buffer, bytesMax: number): Buffer {
  let end = Math.min(bytesMax, text.length);
  while (end > 0 && end < text.length && (text[end] & 0xc0) === 0x80) end--;
  return text.subarray(0, end);
}
