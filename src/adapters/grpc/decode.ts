import { readForeignStream } from '../../columnar/validate';
import { arrowRows } from '../arrow-named-rows';
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
      return arrowRows(fields, batches, context);
    }
    case undefined:
    default:
      return NO_ROWS;
  }
}
