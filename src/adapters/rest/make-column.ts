import { AttributesBuilder } from '../../columnar/attributes';
import { BoolBuilder, int64Builder, NumberBuilder, timestampBuilder, uint64Builder } from '../../columnar/builders';
import { binaryBuilder, utf8Builder } from '../../columnar/bytes-builder';
import { DecimalBuilder } from '../../columnar/decimal';
import { InternedBuilder } from '../../columnar/interned';
import type { ColumnSchema, ColumnType } from '../../core/table-schema';
import {
  AttributesColumn,
  BinaryColumn,
  BoolColumn,
  type Column,
  DateColumn,
  DecimalColumn,
  FloatColumn,
  Int64Column,
  JsonColumn,
  SmallIntColumn,
  TextColumn,
  TimestampColumn,
} from './columns';
import { ListColumn, readFloatItem, readIntItem, readStringItem } from './list-column';

const MAKERS: Readonly<Record<ColumnType, (schema: ColumnSchema) => Column>> = {
  timestamp: (schema) => new TimestampColumn(schema, timestampBuilder()),
  string: (schema) => new TextColumn(schema, schema.lowCardinality === true ? new InternedBuilder() : utf8Builder()),
  json: (schema) => new JsonColumn(schema, utf8Builder()),
  attributes: (schema) => new AttributesColumn(schema, new AttributesBuilder()),
  bool: (schema) => new BoolColumn(schema, new BoolBuilder()),
  int16: (schema) => new SmallIntColumn(schema, NumberBuilder.int16()),
  int32: (schema) => new SmallIntColumn(schema, NumberBuilder.int32()),
  int64: (schema) => new Int64Column(schema, int64Builder()),
  uint8: (schema) => new SmallIntColumn(schema, NumberBuilder.uint8()),
  uint32: (schema) => new SmallIntColumn(schema, NumberBuilder.uint32()),
  uint64: (schema) => new Int64Column(schema, uint64Builder()),
  decimal: (schema) => new DecimalColumn(schema, new DecimalBuilder()),
  float32: (schema) => new FloatColumn(schema, NumberBuilder.float32()),
  float64: (schema) => new FloatColumn(schema, NumberBuilder.float64()),
  binary: (schema) => new BinaryColumn(schema, binaryBuilder()),
  date: (schema) => new DateColumn(schema, NumberBuilder.date()),
  'list<uint64>': (schema) => new ListColumn(schema, uint64Builder(), readIntItem(true)),
  'list<int64>': (schema) => new ListColumn(schema, int64Builder(), readIntItem(false)),
  'list<float64>': (schema) => new ListColumn(schema, NumberBuilder.float64(), readFloatItem),
  'list<string>': (schema) => new ListColumn(schema, utf8Builder(), readStringItem),
};

/** The column that values of this schema go to. */
export const makeColumn = (schema: ColumnSchema): Column => MAKERS[schema.type](schema);

/** A text column that also takes arrays and objects, as JSON text. */
export const makeAnyTextColumn = (schema: ColumnSchema): TextColumn => new TextColumn(schema, utf8Builder(), true);
