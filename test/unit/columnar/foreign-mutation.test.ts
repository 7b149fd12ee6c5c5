/**
 * Real streams with one byte changed. Each is read as it was, refused, or read with other values that no check could have told
 * from the true ones. What can be told, and so must be refused or make no difference:
 *
 * - the framing, the padding, and the metadata of batches and dictionaries, all but the id of a dictionary, which may be
 *   that of another one of the same type;
 * - the metadata of the schema, unless the schema then says something else (a name, a unit, a type of the same width);
 * - a validity bitmap whose number of nulls is another than the null count;
 * - offsets, sizes and views that lie outside, are out of order, cut a character, or have another prefix than their value; what
 *   is left are borders that moved between the same items and characters;
 * - indexes outside of the dictionary; others point to another of its values;
 * - text that is not UTF-8;
 * - and always: whatever is in another column.
 *
 * A number, a character or a byte of binary data may be another one: nothing in Arrow tells. In compressed buffers one byte may
 * change many, of the same column, by the same rules.
 *
 * `make test` changes every eleventh byte; ARROW_SWEEP=full changes every bit of every byte and prints what came of it.
 */
import type { ForeignField } from '../../../src/columnar/foreign-schema';
import { readForeignStream } from '../../../src/columnar/validate';
import { IngestError } from '../../../src/core/errors';
import { dictionaryIdAt, type Region, regionsOf } from '../../support/arrow-regions';
import { GOLDEN_STREAMS, goldenStream, valuesOf } from '../../support/golden-arrow';

const IS_FULL = process.env.ARROW_SWEEP === 'full';
const MASKS = IS_FULL ? [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff, 0x55, 0x0f] : [0x01, 0x80, 0xff];
const STEP = IS_FULL ? 1 : 11;
/** Processor time, not wall time: the machine may be busy. */
const STALL_US = 1_000_000;

type Values = Record<string, unknown[]>;
interface Stream {
  readonly bytes: Buffer;
  readonly fields: readonly ForeignField[];
  readonly values: Values;
  /** The values as one text. */
  readonly text: string;
}
type Outcome = 'refused' | 'same' | 'changed';

describe('a byte of an Arrow stream is changed', () => {
  test.each(GOLDEN_STREAMS)(
    'IP5: in the stream %s no change is taken for true that could have been seen',
    (name) => {
      const sound = read(goldenStream(name));
      if (sound === undefined) throw new Error('the stream itself is refused');
      const counts = { bytes: 0, changes: 0, refused: 0, same: 0, changed: 0 };
      let slowestUs = 0;
      for (const region of regionsOf(sound.bytes)) {
        for (let at = region.start + ((STEP - (region.start % STEP)) % STEP); at < region.end; at += STEP) {
          counts.bytes++;
          for (const mask of MASKS) {
            const before = process.cpuUsage();
            const outcome = change(sound, region, at, mask);
            const { user, system } = process.cpuUsage(before);
            slowestUs = Math.max(slowestUs, user + system);
            counts.changes++;
            counts[outcome]++;
          }
        }
      }
      expect(slowestUs).toBeLessThan(STALL_US);
      expect(counts.changes).toBeGreaterThan((sound.bytes.length / STEP) * MASKS.length * 0.9);
      expect(counts.refused).toBeGreaterThan(counts.changes / 4);
      // oxlint-disable-next-line no-console
      if (IS_FULL) console.log(name, JSON.stringify({ ...counts, slowestMs: slowestUs / 1000 }));
    },
    IS_FULL ? 3_600_000 : 20_000,
  );
});

/** Undefined when the stream is refused; anything else than a refusal is thrown. */
function read(bytes: Buffer): Stream | undefined {
  try {
    const { fields, batches } = readForeignStream(bytes);
    const values = valuesOf(fields, batches);
    return { bytes, fields, values, text: textOf(values) };
  } catch (error) {
    if (error instanceof IngestError && ['invalid_argument', 'payload_too_large'].includes(error.code)) return undefined;
    throw error;
  }
}

function change(sound: Stream, region: Region, at: number, mask: number): Outcome {
  const bytes = Buffer.from(sound.bytes);
  bytes[at] ^= mask;
  const changed = read(bytes);
  if (changed === undefined) return 'refused';
  if (changed.text === sound.text) return 'same';
  const complaint = visible(sound, changed, region);
  if (complaint !== undefined) {
    throw new Error(`byte ${at} (${region.role} of ${region.of}) changed by ${mask}: ${complaint}`);
  }
  return 'changed';
}

/** What could have been seen of a change; undefined when nothing could. */
function visible(sound: Stream, changed: Stream, region: Region): string | undefined {
  const { role, of } = region;
  if (role === 'schema') return textOf(sound.fields) === textOf(changed.fields) ? 'the schema says the same' : undefined;
  if (role === 'header' && dictionaryIdAt(sound.bytes, region) !== dictionaryIdAt(changed.bytes, region)) return undefined;
  if (of === undefined) return 'it is no part of a value';
  const columns = Object.keys(sound.values).filter((name) => textOf(sound.values[name]) !== textOf(changed.values[name]));
  for (const column of columns) {
    const field = sound.fields.find(({ name }) => name === column);
    if (field === undefined || !isOf(field, of)) return `column ${column} is another one`;
    const complaint = visibleIn(sound.values[column], changed.values[column], region, field);
    if (complaint !== undefined) return complaint;
  }
  return undefined;
}

function isOf(field: ForeignField, of: string | number): boolean {
  if (field.name === of || field.dictionary?.id === of) return true;
  return typeof of === 'number' && field.children.some((child) => isOf(child, of));
}

function visibleIn(
  sound: unknown[],
  changed: unknown[],
  { role, of, isInner, isPacked }: Region,
  field: ForeignField,
): string | undefined {
  const nulls = (rows: unknown[]): number => rows.filter((value) => value === null).length;
  if (changed.length !== sound.length) return 'there is another number of rows';
  switch (role) {
    case 'validity':
      // Inside of lists and structs a null may be one of those that are not seen.
      return isInner || nulls(changed) === nulls(sound) ? undefined : 'there is another number of nulls';
    case 'offsets':
    case 'sizes':
      // Rows may use a value of a dictionary more often than another.
      if (typeof of === 'number')
        return isPartOf(new Set(atoms(changed)), new Set(atoms(sound))) ? undefined : 'there are other items';
      return isPartOf(atoms(changed), atoms(sound)) ? undefined : 'there are other items';
    case 'indexes':
      return isPartOf(new Set(atomsOfRows(changed)), new Set(atomsOfRows(sound))) ? undefined : 'there are other values';
    case 'text':
      if (textOf(changed).includes('\uFFFD')) return 'the text is no UTF-8';
      break;
    case 'views':
      if (!isInner && !isPacked)
        return changed.map((value, row) => visibleView(sound[row], value, field)).find((complaint) => complaint);
      break;
    default:
      break;
  }
  const sameNulls = isInner || changed.every((value, row) => (value === null) === (sound[row] === null));
  return sameNulls ? undefined : 'a value has become null, or a null a value';
}

/** Of a value that is not in its view, the view has the first four bytes. */
function visibleView(sound: unknown, changed: unknown, { type }: ForeignField): string | undefined {
  if (sound === null || changed === null) return sound === changed ? undefined : 'a value has become null, or a null a value';
  const [was, is] = [sound, changed].map((value) => Buffer.from(value as string, type.kind === 'binary' ? 'hex' : 'utf8'));
  if (was.length <= 12 && is.length <= 12) return undefined;
  const prefix = Math.min(4, was.length, is.length);
  return was.subarray(0, prefix).equals(is.subarray(0, prefix)) ? undefined : 'the prefix is not that of the value';
}

const textOf = (value: unknown): string =>
  JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? `${part}n` : part));

/** Every character of every value, nulls left out. */
function atoms(value: unknown): string[] {
  if (value === null) return [];
  return Array.isArray(value) ? value.flatMap(atoms) : Array.from(textOf(value));
}

/** The values behind indexes: rows, or items of lists. */
const atomsOfRows = (rows: unknown[]): string[] => rows.flatMap((row) => (Array.isArray(row) ? row.map(textOf) : [textOf(row)]));

/** Does `whole` have each of the parts, as often? */
function isPartOf(parts: Iterable<string>, whole: Iterable<string>): boolean {
  const left = new Map<string, number>();
  for (const atom of whole) left.set(atom, (left.get(atom) ?? 0) + 1);
  for (const atom of parts) {
    const count = left.get(atom) ?? 0;
    if (count === 0) return false;
    left.set(atom, count - 1);
  }
  return true;
}
