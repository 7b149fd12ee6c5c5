import type { RecordBatch } from 'apache-arrow';
import type { ForeignField } from '../columnar/foreign-schema';
import type { ColumnType } from '../core/table-schema';
import { type ArrowRowsContext, decodeArrowBatches } from './arrow-rows';
import { columnsOfFields } from './arrow-types';
import type { NamedRows } from './schema-on-write';

/** Rows in Arrow batches, whatever protocol brought them; `declared` types go before those of the fields. */
export function arrowRows(
  fields: readonly ForeignField[],
  batches: readonly RecordBatch[],
  context: ArrowRowsContext,
  declared?: ReadonlyMap<string, ColumnType>,
): NamedRows {
  return {
    infer: (known) => columnsOfFields(fields, known, declared),
    decode: (schema, parking) => {
      const json = declared === undefined ? [] : [...declared].flatMap(([name, type]) => (type === 'json' ? [name] : []));
      const [only] = batches;
      const asTheyCame = json.length === 0 ? undefined : { batch: only, jsonColumns: json };
      return decodeArrowBatches(fields, batches, schema, { ...context, parking, asTheyCame: () => asTheyCame });
    },
  };
}
