/** What each byte of a sound Arrow stream is, so that a test can tell which changes of it can be seen. */
import { FlatTable } from '../../src/columnar/flatbuffer';
import type { ForeignField } from '../../src/columnar/foreign-schema';
import { readForeignFields } from '../../src/columnar/validate';

/**
 * `frame`: continuation markers, lengths, and the end mark. `schema`, `header`: metadata of the schema, of batches and
 * dictionaries. `padding`: bytes of a body that belong to no buffer. The others: buffers, by what they hold.
 */
export type Role =
  | 'frame'
  | 'schema'
  | 'header'
  | 'padding'
  | 'validity'
  | 'offsets'
  | 'sizes'
  | 'indexes'
  | 'values'
  | 'text'
  | 'bytes'
  | 'views';

export interface Region {
  readonly start: number;
  readonly end: number;
  readonly role: Role;
  /** The column that the bytes are of, or the id of the dictionary. */
  readonly of: string | number | undefined;
  /** They are of a child of that column. */
  readonly isInner: boolean;
  /** They are compressed: one of them may be many of the buffer. */
  readonly isPacked: boolean;
}

const MESSAGE = { headerType: 1, header: 2, bodyLength: 3 };
const KIND = { schema: 1, dictionary: 2 };
const BATCH = { buffers: 2, compression: 3, variadic: 4 };
const PREFIX_BYTES = 8;

interface Slot {
  readonly role: Role;
  readonly of: string | number;
  readonly isInner: boolean;
}

/** The dictionary that a message is about, by its metadata; undefined for other messages. */
export function dictionaryIdAt(stream: Buffer, { start, end }: Region): number | undefined {
  const message = FlatTable.root(stream.subarray(start, end));
  return message.uint8(MESSAGE.headerType, 0) === KIND.dictionary ? message.table(MESSAGE.header)?.int64(0) : undefined;
}

/** The regions of a stream, in order and without gaps. */
export function regionsOf(stream: Buffer): Region[] {
  const fields = readForeignFields(stream);
  const regions: Region[] = [];
  const add = (start: number, end: number, role: Role, slot?: Slot, isPacked = false): void => {
    if (end > start) regions.push({ start, end, role, of: slot?.of, isInner: slot?.isInner ?? false, isPacked });
  };
  let at = 0;
  while (at + PREFIX_BYTES < stream.length) {
    const bodyAt = at + PREFIX_BYTES + stream.readUInt32LE(at + 4);
    add(at, at + PREFIX_BYTES, 'frame');
    const message = FlatTable.root(stream.subarray(at + PREFIX_BYTES, bodyAt));
    const kind = message.uint8(MESSAGE.headerType, 0);
    add(at + PREFIX_BYTES, bodyAt, kind === KIND.schema ? 'schema' : 'header');
    at = bodyAt + message.int64(MESSAGE.bodyLength);
    if (kind === KIND.schema) continue;
    const content = message.table(MESSAGE.header);
    const batch = kind === KIND.dictionary ? content?.table(1) : content;
    if (content === undefined || batch === undefined) throw new Error('a message has no content');
    const id = content.int64(0);
    const counts = [...batch.int64s(BATCH.variadic)];
    const slots =
      kind === KIND.dictionary
        ? valueSlots(dictionaryField(fields, id), id, counts)
        : fields.flatMap((field) => slotsOf(field, field.name, counts));
    const pairs = batch.int64Pairs(BATCH.buffers);
    let end = bodyAt;
    for (const [i, slot] of slots.entries()) {
      const length = pairs[i * 2 + 1];
      if (length === 0) continue;
      const start = bodyAt + pairs[i * 2];
      add(end, start, 'padding');
      add(start, start + length, slot.role, slot, batch.has(BATCH.compression));
      end = start + length;
    }
    add(end, at, 'padding');
  }
  add(at, stream.length, 'frame');
  return regions;
}

function dictionaryField(fields: readonly ForeignField[], id: number): ForeignField {
  const all = (field: ForeignField): ForeignField[] => [field, ...field.children.flatMap(all)];
  const found = fields.flatMap(all).find(({ dictionary }) => dictionary?.id === id);
  if (found === undefined) throw new Error(`no field has the dictionary ${id}`);
  return found;
}

function slotsOf(field: ForeignField, of: string | number, counts: number[]): Slot[] {
  if (field.dictionary === undefined) return valueSlots(field, of, counts);
  return (['validity', 'indexes'] as const).map((role) => ({ role, of, isInner: false }));
}

/** The buffers of a field, in the order of the format. */
function valueSlots(field: ForeignField, of: string | number, counts: number[]): Slot[] {
  const slots = (...roles: Role[]): Slot[] => roles.map((role) => ({ role, of, isInner: false }));
  const children = (): Slot[] =>
    field.children.flatMap((child) => slotsOf(child, of, counts)).map((slot) => ({ ...slot, isInner: true }));
  const isView = field.isView === true;
  switch (field.type.kind) {
    case 'null':
      return [];
    case 'utf8':
    case 'binary': {
      const data = field.type.kind === 'utf8' ? 'text' : 'bytes';
      if (!isView) return slots('validity', 'offsets', data);
      return slots('validity', 'views', ...Array.from({ length: counts.shift() ?? 0 }, (): Role => data));
    }
    case 'list':
    case 'map':
      if (field.listSize !== undefined) return [...slots('validity'), ...children()];
      return [...slots('validity', 'offsets', ...(isView ? (['sizes'] as const) : [])), ...children()];
    case 'struct':
      return [...slots('validity'), ...children()];
    default:
      return slots('validity', 'values');
  }
}
