/** Bodies of `application/vnd.apache.arrow.stream`. */
import { readForeignFields, readForeignStream } from '../../columnar/validate';
import type { DecodedRequest } from '../../core/batch';
import type { TableSchema } from '../../core/table-schema';
import { decodeArrowBatches } from '../arrow-rows';
import { columnsOfFields } from '../arrow-types';
import type { InferredColumns } from '../new-columns';
import type { DecodeContext } from './decode-json';

/**
 * The rows of an Arrow IPC stream for a table; the batch may view the body.
 * Throws IngestError `invalid_argument` when the stream is not sound or has a column that the table cannot take.
 */
export function decodeArrowStream(body: Uint8Array, schema: TableSchema, context: DecodeContext): DecodedRequest {
  const { fields, batches } = readForeignStream(body, context.reserveUnpacked);
  return decodeArrowBatches(fields, batches, schema, context);
}

/** The columns that an Arrow stream needs beyond `known`. Reads the schema only. Throws IngestError `invalid_argument`. */
export const arrowColumns = (body: Uint8Array, known: TableSchema | undefined): InferredColumns =>
  columnsOfFields(readForeignFields(body), known);
