/** Descriptions of columns of this protocol as if they came from a foreign Arrow stream, so that the same rules convert them. */
import type { ForeignField, ForeignType } from '../../columnar/foreign-schema';
import type { ColumnType } from '../../core/table-schema';

export const fieldOf = (name: string, type: ForeignType, children: readonly ForeignField[] = []): ForeignField => ({
  name,
  type,
  isLarge: false,
  byteWidth: 0,
  children,
  dictionary: undefined,
});

/** The same field, holding indexes into a dictionary. */
export const indexed = (field: ForeignField): ForeignField => ({ ...field, dictionary: { id: 0, bits: 32, signed: true } });

export const INT64: ForeignType = { kind: 'int', bits: 64, signed: true };
export const UINT64: ForeignType = { kind: 'int', bits: 64, signed: false };
export const INT32: ForeignType = { kind: 'int', bits: 32, signed: true };
export const UINT32: ForeignType = { kind: 'int', bits: 32, signed: false };
export const FLOAT: ForeignType = { kind: 'float', bits: 32 };
export const DOUBLE: ForeignType = { kind: 'float', bits: 64 };
export const UTF8: ForeignType = { kind: 'utf8' };
export const BINARY: ForeignType = { kind: 'binary' };
export const BOOL: ForeignType = { kind: 'bool' };
export const TIMESTAMP: ForeignType = { kind: 'timestamp', unit: 'ns' };
export const DECIMAL: ForeignType = { kind: 'decimal', precision: 76, scale: 38, bits: 256 };
export const DATE: ForeignType = { kind: 'date', unit: 'day' };

const KIND_AND_TEXT = fieldOf('value', { kind: 'struct' }, [
  fieldOf('kind', { kind: 'int', bits: 8, signed: false }),
  fieldOf('text', UTF8),
]);
const ENTRIES = fieldOf('entries', { kind: 'struct' }, [fieldOf('key', UTF8), KIND_AND_TEXT]);

/** Attributes as they travel inside (core/table-schema.ts). */
export const mapField = (name: string): ForeignField => fieldOf(name, { kind: 'map' }, [ENTRIES]);

export const listField = (name: string, item: ForeignType): ForeignField =>
  fieldOf(name, { kind: 'list' }, [fieldOf('item', item)]);

const FIELDS: Readonly<Record<ColumnType, (name: string) => ForeignField>> = {
  timestamp: (name) => fieldOf(name, TIMESTAMP),
  string: (name) => fieldOf(name, UTF8),
  json: (name) => fieldOf(name, UTF8),
  attributes: mapField,
  bool: (name) => fieldOf(name, BOOL),
  int16: (name) => fieldOf(name, { kind: 'int', bits: 16, signed: true }),
  int32: (name) => fieldOf(name, INT32),
  int64: (name) => fieldOf(name, INT64),
  uint8: (name) => fieldOf(name, { kind: 'int', bits: 8, signed: false }),
  uint32: (name) => fieldOf(name, UINT32),
  uint64: (name) => fieldOf(name, UINT64),
  decimal: (name) => fieldOf(name, DECIMAL),
  float32: (name) => fieldOf(name, FLOAT),
  float64: (name) => fieldOf(name, DOUBLE),
  binary: (name) => fieldOf(name, BINARY),
  date: (name) => fieldOf(name, DATE),
  'list<uint64>': (name) => listField(name, UINT64),
  'list<int64>': (name) => listField(name, INT64),
  'list<float64>': (name) => listField(name, DOUBLE),
  'list<string>': (name) => listField(name, UTF8),
};

/** A field whose data has the form of this column type already. */
export const fieldOfType = (name: string, type: ColumnType): ForeignField => FIELDS[type](name);
