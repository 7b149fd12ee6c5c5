import { readForeignStream } from '../../columnar/validate';
import { decodeArrowBatches } from '../arrow-rows';
import { columnsOfFields } from '../arrow-types';
import { newColumns } from '../new-columns';
import type { NamedRows } from '../schema-on-write';
import { readColumns } from './decode-columns';
import { readRows } from './decode-rows';
import type { WireWrite } from './write-request';

const NO_ROWS: NamedRows = {
  infer: (known) => newColumns(new Map(), known),
  decode: () => ({ batches: [], acceptedRows: 0, rejectedRows: 0, rejections: [] }),
};

/** The rows of a write, in whatever form. Throws IngestError `invalid_argument` or `payload_too_large`. */
export function namedRows({ wire, form, data }: WireWrite, context: { readonly arrivalNs: bigint }): NamedRows {
  switch (form) {
    case 'columns':
      return readColumns(wire, data, context);
    case 'rows':
      return readRows(wire, data, context);
    case 'arrow_stream': {
      const [{ start, stop }] = data;
      const { fields, batches } = readForeignStream(wire.bytes.subarray(start, stop));
      return {
        infer: (known) => columnsOfFields(fields, known),
        decode: (schema) => decodeArrowBatches(fields, batches, schema, context),
      };
    }
    case undefined:
    default:
      return NO_ROWS;
  }
}
