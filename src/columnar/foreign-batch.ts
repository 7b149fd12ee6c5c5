/**
 * The columns of a foreign record batch as Arrow data that the rest of the server can trust (Arrow columnar format, "Physical
 * Memory Layout" and "Security Considerations"). Checked: lengths, null counts against bitmaps, buffers inside the body, offsets
 * in order and in range, views, UTF-8 of every value, dictionary indexes. Values are views into the body where they are aligned,
 * copies otherwise.
 * 64-bit offsets become 32-bit ones, views and lists of one size become plain ones, fixed-size binary becomes binary, dictionary
 * indexes become int32.
 */
import { Binary, Bool, type Data, Field, Float32, type Float64, Int32, Int64, List, makeData, Utf8 } from 'apache-arrow';
import { LIMITS } from '../core/limits';
import { mapData } from './attributes';
import type { RequestBudget } from './foreign-budget';
import { BatchCursor, type BatchSource, isValid, LENGTH_MAX, type Node, validity } from './foreign-buffers';
import { corrupt } from './foreign-error';
import { type ForeignDictionary, type ForeignField, HALF_BYTES } from './foreign-schema';
import { checkUtf8, fixedType, halfToNumber, intArray, nanoseconds, nothing, structData, widenDecimals } from './foreign-values';
import { gatherLists, readListViews, readViews } from './foreign-views';
import { dictionaryData } from './nested-builders';

/** Reads the columns of one batch, field by field. Throws IngestError `invalid_argument` or `payload_too_large`. */
export class BatchReader {
  private readonly cursor: BatchCursor;
  /** Zeros for columns of nulls, by how many rows they have. */
  private readonly zeros = new Map<number, Uint8Array>();

  constructor(
    source: BatchSource,
    budget: RequestBudget,
    /** The values of a dictionary. */
    private readonly dictionaryOf: (id: number, field: ForeignField) => Data,
  ) {
    this.cursor = new BatchCursor(source, budget);
  }

  /** The next field. `lengthMin`: how many values there must be at least. */
  read(field: ForeignField, path: string, lengthMin: number): Data {
    const data = field.dictionary === undefined ? this.plain(field, path) : this.indexed(field, field.dictionary, path);
    if (data.length < lengthMin) throw corrupt(`column ${path} has ${data.length} values where ${lengthMin} are needed`);
    return data;
  }

  /** Values of a field as if it had no dictionary. */
  plain(field: ForeignField, path: string): Data {
    const { type } = field;
    if (type.kind === 'null') return this.nulls(path);
    const node = this.cursor.nextNode(path);
    switch (type.kind) {
      case 'utf8':
      case 'binary':
        return this.variable(field, path, node);
      case 'fixed_binary':
        return this.fixedBinary(field, path, node);
      case 'list':
        return this.list(field, path, node);
      case 'map':
        return this.map(field, path, node);
      case 'struct': {
        if (field.children.length === 0) checkUnbacked(node.length, path);
        const children = field.children.map((child) => this.read(child, `${path}.${child.name}`, node.length));
        return structData(field, node, children);
      }
      case 'bool': {
        const data = this.cursor.nextBuffer(path, (node.length + 7) >> 3);
        return makeData({ type: new Bool(), length: node.length, data, ...validity(node) });
      }
      case 'int':
      case 'float':
      case 'decimal':
      case 'timestamp':
      case 'date':
        return this.fixed(field, path, node);
      default:
        throw new Error(`column ${path} has a type that the schema does not let through`);
    }
  }

  /** The batch must not hold more than the schema says. */
  finish(): void {
    this.cursor.finish();
  }

  private nulls(path: string): Data {
    const { length } = this.cursor.nextLength(path);
    const bytes = (length + 7) >> 3;
    checkUnbacked(length, path);
    let bits = this.zeros.get(length);
    if (bits === undefined) {
      this.cursor.takeBytes(bytes);
      bits = new Uint8Array(bytes);
      this.zeros.set(length, bits);
    }
    return nothing(length, bits);
  }

  private indexed(field: ForeignField, dictionary: ForeignDictionary, path: string): Data {
    const node = this.cursor.nextNode(path);
    const raw = this.cursor.nextArray(path, intArray(dictionary.bits, dictionary.signed), node.length);
    const values = this.dictionaryOf(dictionary.id, field);
    // Indexes that are right as they are stay where they are; beneath a null there may be anything.
    const indexes = raw instanceof Int32Array && node.nullCount === 0 ? raw : new Int32Array(node.length);
    const offsets = values.valueOffsets as Int32Array | undefined;
    let expandedBytes = 0;
    for (let row = 0; row < node.length; row++) {
      if (!isValid(node, row)) continue;
      const index = Number(raw[row]);
      if (!(index >= 0 && index < values.length))
        throw corrupt(`column ${path} has the index ${index} into ${values.length} values`);
      indexes[row] = index;
      if (offsets !== undefined) expandedBytes += offsets[index + 1] - offsets[index];
    }
    this.cursor.takeExpanded(expandedBytes);
    return dictionaryData(makeData({ type: new Int32(), length: node.length, data: indexes, ...validity(node) }), values);
  }

  private fixed(field: ForeignField, path: string, node: Node): Data {
    const { cursor } = this;
    const { length } = node;
    const { type, byteWidth, ticks } = field;
    if (type.kind === 'float' && byteWidth === HALF_BYTES) {
      const data = Float32Array.from(cursor.nextArray(path, Uint16Array, length), halfToNumber);
      return makeData({ type: new Float32(), length, data, ...validity(node) });
    }
    if (ticks !== undefined) {
      const raw = ticks.bits === 32 ? cursor.nextArray(path, Int32Array, length) : cursor.nextArray(path, BigInt64Array, length);
      return makeData({ type: new Int64(), length, data: nanoseconds(raw, ticks.ns, node, path), ...validity(node) });
    }
    const { arrow, array, stride } = fixedType(field);
    const isNarrow = type.kind === 'decimal' && byteWidth < 16;
    const data = isNarrow
      ? new Uint32Array(widenDecimals(cursor.nextArray(path, Int32Array, length, byteWidth / 4), byteWidth / 4).buffer)
      : cursor.nextArray(path, array, length, stride);
    return makeData({ type: arrow as Float64, length, data: data as Float64Array, ...validity(node) });
  }

  private variable(field: ForeignField, path: string, node: Node): Data {
    const { valueOffsets, data } = field.isView ? readViews(this.cursor, path, node) : this.offsetsAndBytes(field, path, node);
    const isText = field.type.kind === 'utf8';
    if (isText) checkUtf8(data, valueOffsets, node, path);
    const type = isText ? new Utf8() : new Binary();
    return makeData({ type: type as Utf8, length: node.length, valueOffsets, data, ...validity(node) });
  }

  private offsetsAndBytes(field: ForeignField, path: string, node: Node): { valueOffsets: Int32Array; data: Uint8Array } {
    const valueOffsets = this.cursor.nextOffsets(path, field.isLarge, node.length);
    return { valueOffsets, data: this.cursor.nextBuffer(path, valueOffsets[node.length]) };
  }

  private fixedBinary({ byteWidth }: ForeignField, path: string, node: Node): Data {
    const data = this.cursor.nextArray(path, Uint8Array, node.length, byteWidth);
    return makeData({
      type: new Binary(),
      length: node.length,
      valueOffsets: multiples(node.length, byteWidth),
      data,
      ...validity(node),
    });
  }

  private list(field: ForeignField, path: string, node: Node): Data {
    const { valueOffsets, child } = this.items(field, path, node);
    const type = new List(new Field('item', child.type, true));
    return makeData({ type, length: node.length, valueOffsets, child, ...validity(node) });
  }

  private items(field: ForeignField, path: string, node: Node): { valueOffsets: Int32Array; child: Data } {
    const [item] = field.children;
    const itemPath = `${path}.${item.name}`;
    if (field.isView) {
      const views = readListViews(this.cursor, path, field.isLarge, node);
      return gatherLists(views, this.read(item, itemPath, 0), path);
    }
    if (field.listSize !== undefined) {
      this.cursor.takeBytes((node.length + 1) * 4);
      if (node.length * field.listSize > LENGTH_MAX) throw corrupt(`column ${path} has too many items`);
      const child = this.read(item, itemPath, node.length * field.listSize);
      return { valueOffsets: multiples(node.length, field.listSize), child };
    }
    const valueOffsets = this.cursor.nextOffsets(path, field.isLarge, node.length);
    return { valueOffsets, child: this.read(item, itemPath, valueOffsets[node.length]) };
  }

  private map(field: ForeignField, path: string, node: Node): Data {
    const valueOffsets = this.cursor.nextOffsets(path, false, node.length);
    const [entries] = field.children;
    const child = this.read(entries, `${path}.${entries.name}`, valueOffsets[node.length]);
    const [key, value] = child.children;
    if (child.nullCount > 0 || key.nullCount > 0) throw corrupt(`column ${path} has a null among its entries or keys`);
    const map = mapData(node.length, valueOffsets, key, value);
    if (node.nullBitmap === undefined) return map;
    const buffers = [map.valueOffsets, map.values, node.nullBitmap, map.typeIds];
    return map.clone(map.type, 0, node.length, node.nullCount, buffers as never);
  }
}

/** Nulls and structs of nothing take no bytes in the body, so only their number bounds them. */
function checkUnbacked(length: number, path: string): void {
  if (length > LIMITS.rowsPerRequestMax) throw corrupt(`column ${path} has too many rows`);
}

/** Offsets of values of one size. */
const multiples = (length: number, size: number): Int32Array => Int32Array.from({ length: length + 1 }, (_, i) => i * size);
