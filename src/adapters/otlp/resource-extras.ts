import type { ByteSource } from '../../columnar/byte-source';
import type { BytesBuilder } from '../../columnar/bytes-builder';
import type { Wire } from '../wire';
import type { Range } from './envelope';
import { jsonText, writeJsonString, writeText, writeUint64 } from './json-text';

/** What a Resource says besides its attributes. */
export interface ResourceExtras {
  droppedCount: number;
  /** EntityRef messages. */
  readonly entityRefs: Range[];
}

const TEXT = { open: jsonText('{'), close: jsonText('}'), next: jsonText(','), list: jsonText('['), listEnd: jsonText(']') };

const KEY = {
  schemaUrl: jsonText('"schema_url":'),
  droppedCount: jsonText('"dropped_attributes_count":'),
  entityRefs: jsonText('"entity_refs":'),
  type: jsonText('"type":'),
  idKeys: jsonText('"id_keys":'),
  descriptionKeys: jsonText('"description_keys":'),
};

const ENTITY_REF = { schemaUrl: 1, type: 2, idKeys: 3, descriptionKeys: 4 } as const;

/** Writes `{"schema_url","dropped_attributes_count","entity_refs"}`, each only if the sender set it. */
export function writeResourceExtras(wire: Wire, schemaUrl: Range, extras: ResourceExtras, out: BytesBuilder): void {
  const object = new ObjectText(out);
  if (schemaUrl.end > schemaUrl.start) {
    object.key(KEY.schemaUrl);
    writeJsonString(out, wire, schemaUrl.start, schemaUrl.end);
  }
  if (extras.droppedCount > 0) {
    object.key(KEY.droppedCount);
    writeUint64(out, extras.droppedCount | 0, 0);
  }
  if (extras.entityRefs.length > 0) {
    object.key(KEY.entityRefs);
    writeList(out, extras.entityRefs, (ref) => writeEntityRef(wire, ref, out));
  }
  object.end();
}

function writeEntityRef(wire: Wire, ref: Range, out: BytesBuilder): void {
  const object = new ObjectText(out);
  const write = ({ start, end }: Range): void => writeJsonString(out, wire, start, end);
  const text = (key: ByteSource, number: number): void => {
    const last = stringsOf(wire, ref, number).at(-1);
    if (last === undefined || last.end === last.start) return;
    object.key(key);
    write(last);
  };
  const list = (key: ByteSource, number: number): void => {
    const all = stringsOf(wire, ref, number);
    if (all.length === 0) return;
    object.key(key);
    writeList(out, all, write);
  };
  text(KEY.schemaUrl, ENTITY_REF.schemaUrl);
  text(KEY.type, ENTITY_REF.type);
  list(KEY.idKeys, ENTITY_REF.idKeys);
  list(KEY.descriptionKeys, ENTITY_REF.descriptionKeys);
  object.end();
}

/** The values of a string field of a message, in order. */
function stringsOf(wire: Wire, message: Range, number: number): Range[] {
  const found: Range[] = [];
  let p = message.start;
  while (p < message.end) {
    p = wire.tag(p, message.end);
    if (wire.low === ((number << 3) | 2)) {
      found.push({ start: wire.open(p, message.end), end: wire.stop });
      p = wire.stop;
    } else p = wire.skip(wire.low, p, message.end);
  }
  return found;
}

class ObjectText {
  private empty = true;

  constructor(private readonly out: BytesBuilder) {
    writeText(out, TEXT.open);
  }

  key(text: ByteSource): void {
    if (!this.empty) writeText(this.out, TEXT.next);
    this.empty = false;
    writeText(this.out, text);
  }

  end(): void {
    writeText(this.out, TEXT.close);
  }
}

function writeList(out: BytesBuilder, items: readonly Range[], write: (item: Range) => void): void {
  writeText(out, TEXT.list);
  for (const [i, item] of items.entries()) {
    if (i > 0) writeText(out, TEXT.next);
    write(item);
  }
  writeText(out, TEXT.listEnd);
}
