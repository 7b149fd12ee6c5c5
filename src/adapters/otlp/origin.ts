/**
 * The columns that are equal for all rows of a Scope* message: app, host, resource, scope (core/builtin-tables.ts).
 * `resource` and `scope` are dictionary-encoded: one value per block, shared by blocks in a row that are equal byte for byte.
 */

import type { AttributesBuilder } from '../../columnar/attributes';
import type { ByteSource } from '../../columnar/byte-source';
import type { BytesBuilder } from '../../columnar/bytes-builder';
import { InternedBuilder } from '../../columnar/interned';
import { DictionaryBuilder } from '../../columnar/nested-builders';
import { ATTRIBUTE_KIND as KIND } from '../../core/table-schema';
import type { ValueReader } from './any-value';
import { AttributeColumn } from './attribute-column';
import { type Block, EMPTY_RANGE, type Origin, type Range } from './envelope';
import { jsonText, writeUint64 } from './json-text';
import { type ResourceExtras, writeResourceExtras } from './resource-extras';

const TAG = {
  attributes: 0x0a,
  droppedCount: 0x10,
  entityRefs: 0x1a,
  scopeName: 0x0a,
  scopeVersion: 0x12,
  scopeAttributes: 0x1a,
  scopeDropped: 0x20,
} as const;

const SERVICE_NAME = jsonText('service.name');
const HOST_NAME = jsonText('host.name');
const NODE_NAME = jsonText('k8s.node.name');

export class OriginColumns {
  readonly app = new InternedBuilder();
  readonly host = new InternedBuilder();
  private readonly resources: AttributeColumn;
  private readonly scopes: AttributeColumn;
  readonly resource: DictionaryBuilder<AttributesBuilder>;
  readonly scope: DictionaryBuilder<AttributesBuilder>;
  private current: Origin | undefined;
  private extras: ResourceExtras = { droppedCount: 0, entityRefs: [] };
  /** Positions of the current values, -1 for null. */
  private resourceId = -1;
  private scopeId = -1;
  private appId = -1;
  private hostId = -1;

  constructor(
    private readonly values: ValueReader,
    capacity?: number,
  ) {
    this.resources = new AttributeColumn(values);
    this.scopes = new AttributeColumn(values);
    this.resource = new DictionaryBuilder(this.resources.builder, capacity);
    this.scope = new DictionaryBuilder(this.scopes.builder, capacity);
  }

  /** Empties the columns. */
  reset(): void {
    this.app.reset();
    this.host.reset();
    this.resource.reset();
    this.scope.reset();
    this.resources.reset();
    this.scopes.reset();
    this.current = undefined;
  }

  /** The next `count` rows come from `origin`, whose blocks have been validated. */
  append(origin: Origin, count: number): void {
    if (count === 0) return;
    const before = this.current;
    const sameResource = before !== undefined && this.isSame(before.resource, origin.resource);
    if (!sameResource) this.readResource(origin.resource);
    if (!sameResource || !this.isSame(before.scope, origin.scope)) this.readScope(origin);
    this.current = origin;
    this.app.appendRun(this.appId, count);
    this.host.appendRun(this.hostId, count);
    if (this.resourceId < 0) this.resource.appendNulls(count);
    else this.resource.appendRun(this.resourceId, count);
    if (this.scopeId < 0) this.scope.appendNulls(count);
    else this.scope.appendRun(this.scopeId, count);
  }

  private isSame(a: Block, b: Block): boolean {
    if (a === b) return true;
    if (a.pieces.length !== b.pieces.length || !this.isSameText(a.schemaUrl, b.schemaUrl)) return false;
    return a.pieces.every((piece, i) => this.isSameText(piece, b.pieces[i]));
  }

  private isSameText(a: Range, b: Range): boolean {
    if (a.end - a.start !== b.end - b.start) return false;
    const { bytes } = this.values.wire;
    return Buffer.compare(bytes.subarray(a.start, a.end), bytes.subarray(b.start, b.end)) === 0;
  }

  private readResource(block: Block): void {
    const { wire } = this.values;
    this.extras = { droppedCount: 0, entityRefs: [] };
    for (const { start, end } of block.pieces) {
      let p = start;
      while (p < end) {
        p = wire.tag(p, end);
        switch (wire.low) {
          case TAG.attributes:
            p = wire.open(p, end);
            this.addAttribute(this.resources, p, wire.stop);
            p = wire.stop;
            break;
          case TAG.droppedCount:
            p = wire.varint(p, end);
            this.extras.droppedCount = wire.low >>> 0;
            break;
          case TAG.entityRefs:
            p = wire.open(p, end);
            this.extras.entityRefs.push({ start: p, end: wire.stop });
            p = wire.stop;
            break;
          default:
            p = wire.skip(wire.low, p, end);
        }
      }
    }
    this.resourceId = this.closeRow(this.resources);
    this.appId = this.nameOf(this.app, [SERVICE_NAME]);
    this.hostId = this.nameOf(this.host, [HOST_NAME, NODE_NAME]);
  }

  /** `wire.stop` is kept over the call. */
  private addAttribute(column: AttributeColumn, start: number, end: number): void {
    column.add(start, end);
    this.values.wire.stop = end;
  }

  /** The position of the row just read, or -1 when it is empty. */
  private closeRow(column: AttributeColumn): number {
    if (column.builder.openEntries === 0) return -1;
    column.endRow();
    return column.builder.length - 1;
  }

  /** Interns the text of the first of these resource attributes that is there and not empty; -1 when there is none. */
  private nameOf(column: InternedBuilder, keys: readonly ByteSource[]): number {
    if (this.resourceId < 0) return -1;
    for (const key of keys) {
      const text = this.resources.builder.find(this.resourceId, key.bytes);
      if (text !== undefined && text.length > 0) return column.interner.intern(text, 0, text.length);
    }
    return -1;
  }

  private readScope(origin: Origin): void {
    const { wire } = this.values;
    let name = EMPTY_RANGE;
    let version = EMPTY_RANGE;
    let droppedCount = 0;
    const attributes: Range[] = [];
    for (const { start, end } of origin.scope.pieces) {
      let p = start;
      while (p < end) {
        p = wire.tag(p, end);
        const tag = wire.low;
        if (tag === TAG.scopeDropped) {
          p = wire.varint(p, end);
          droppedCount = wire.low >>> 0;
        } else if (tag === TAG.scopeName || tag === TAG.scopeVersion || tag === TAG.scopeAttributes) {
          const range = { start: wire.open(p, end), end: wire.stop };
          if (tag === TAG.scopeName) name = range;
          else if (tag === TAG.scopeVersion) version = range;
          else attributes.push(range);
          p = range.end;
        } else p = wire.skip(tag, p, end);
      }
    }
    this.addText('name', name);
    this.addText('version', version);
    if (attributes.length > 0) this.addEntry('attributes', KIND.kvlist, (out) => this.writeEntries(attributes, out));
    if (droppedCount > 0) this.addEntry('dropped_attributes_count', KIND.int, (out) => writeUint64(out, droppedCount | 0, 0));
    this.addText('schema_url', origin.scope.schemaUrl);
    this.addResourceExtras(origin.resource);
    this.scopeId = this.closeRow(this.scopes);
  }

  private addEntry(key: string, kind: number, write: (out: BytesBuilder) => void): void {
    const { builder } = this.scopes;
    builder.key(builder.keys.internString(key));
    write(builder.text);
    builder.endEntry(kind);
  }

  private addText(key: string, { start, end }: Range): void {
    if (end > start) this.addEntry(key, KIND.string, (out) => out.write(this.values.wire.bytes, start, end));
  }

  private writeEntries(entries: readonly Range[], out: BytesBuilder): void {
    const { values } = this;
    const base = values.size;
    for (const { start, end } of entries) values.push(start, end);
    values.writeEntries(base, 1, out);
    values.size = base;
  }

  /** `resource`: what the sender set besides the attributes, as a JSON object. */
  private addResourceExtras({ schemaUrl }: Block): void {
    const { extras, values } = this;
    if (schemaUrl.end === schemaUrl.start && extras.droppedCount === 0 && extras.entityRefs.length === 0) return;
    this.addEntry('resource', KIND.kvlist, (out) => writeResourceExtras(values.wire, schemaUrl, extras, out));
  }
}
