import { readForeignStream } from '../../columnar/validate';
import { arrowRows } from '../arrow-named-rows';
import { newColumns } from '../new-columns';
import type { NamedRows } from '../schema-on-write';
import { readColumns } from './decode-columns';
import { readRows } from './decode-rows';
import type { WireWrite } from './write-request';

interface DecodeContext {
  /** When the request arrived, nanoseconds since 1970: the time of rows that have none. */
  readonly arrivalNs: bigint;
  /** Room for what is made of the request beside it, bytes in all. Throws IngestError `unavailable` when there is none. */
  readonly reserveUnpacked?: (totalBytes: number) => void;
}

const NO_ROWS: NamedRows = {
  infer: (known) => newColumns(new Map(), known),
  decode: () => ({ batches: [], acceptedRows: 0, rejectedRows: 0, rejections: [] }),
};

/** The rows of a write, in whatever form. Throws IngestError `invalid_argument` or `payload_too_large`. */
export function namedRows({ wire, form, data }: WireWrite, context: DecodeContext): NamedRows {
  switch (form) {
    case 'columns':
      return readColumns(wire, data, context);
    case 'rows':
      return readRows(wire, data, context);
    case 'arrow_stream': {
      const [{ start, stop }] = data;
      const { fields, batches } = readForeignStream(wire.bytes.subarray(start, stop), context.reserveUnpacked);
      return arrowRows(fields, batches, context);
    }
    case undefined:
    default:
      return NO_ROWS;
  }
}
