/**
 * PostgreSQL's binary COPY as record batches: the inverse of encode-copy.ts, which tells the format. What PostgreSQL does not keep
 * comes back in the form nearest to it: attributes have the kind that their jsonb value has (bytes are strings), JSON has no spaces.
 * Low-cardinality strings and attributes come dictionary-encoded.
 */
import type { RecordBatch } from 'apache-arrow';
import { type ByteSource, byteSource } from '../../columnar/byte-source';
import { recordBatch } from '../../columnar/record-batch';
import { LIMITS } from '../../core/limits';
import { quoteIdentifier } from '../../core/postgres-sql';
import type { TableSchema } from '../../core/table-schema';
import { nanosColumn, PG_TYPES } from './ddl';
import { type FieldDecoder, fieldDecoder } from './decode-fields';

/** The select list whose binary COPY `decodeCopy` reads: a timestamp is followed by its nanoseconds. Casts pin the types. */
export function copySelectList(schema: TableSchema): string {
  return schema.columns
    .flatMap(({ name, type }) => {
      const value = `${quoteIdentifier(name)}::${PG_TYPES[type]}`;
      return type === 'timestamp' ? [value, `${quoteIdentifier(nanosColumn(name))}::smallint`] : [value];
    })
    .join(', ');
}

export interface BatchBounds {
  readonly rowsMax: number;
  /** Bytes of COPY in one batch, about. */
  readonly bytesMax: number;
}

const HEADER_BYTES = 19;
const FLAGS_AT = 11;

/**
 * Batches of at most `rowsMax` rows; where they are cut depends on the rows alone, not on how the stream comes in. Throws RangeError
 * for a value that the column's type cannot hold, and for a stream that is none or is cut off.
 */
export async function* decodeCopy(
  stream: AsyncIterable<Uint8Array>,
  schema: TableSchema,
  bounds: BatchBounds,
): AsyncGenerator<RecordBatch> {
  const rows = new RowReader(schema, bounds);
  for await (const piece of stream) yield* rows.push(piece);
  yield* rows.finish();
}

class RowReader {
  private rest: Uint8Array = new Uint8Array(0);
  private columns: { name: string; decoder: FieldDecoder }[] = [];
  private readonly fields: number;
  private rows = 0;
  private bytes = 0;
  private state: 'header' | 'rows' | 'end' = 'header';

  constructor(
    private readonly schema: TableSchema,
    private readonly bounds: BatchBounds,
  ) {
    this.fields = schema.columns.reduce((sum, { type }) => sum + (type === 'timestamp' ? 2 : 1), 0);
    this.begin();
  }

  private begin(): void {
    this.columns = this.schema.columns.map((column) => ({ name: column.name, decoder: fieldDecoder(column) }));
    this.rows = 0;
    this.bytes = 0;
  }

  *push(piece: Uint8Array): Generator<RecordBatch> {
    const source = byteSource(this.rest.length === 0 ? piece : Buffer.concat([this.rest, piece]));
    let at = this.state === 'header' ? this.readHeader(source) : 0;
    while (this.state === 'rows') {
      const end = this.rowEnd(source, at);
      if (end < 0) break;
      if (this.state !== 'rows') break;
      this.readRow(source, at + 2);
      this.rows++;
      this.bytes += end - at;
      at = end;
      if (this.rows >= this.bounds.rowsMax || this.bytes >= this.bounds.bytesMax) yield this.take();
    }
    this.rest = source.bytes.subarray(at);
    if (this.rest.length > LIMITS.walFrameBytesMax) throw new RangeError('a row is too large to be read');
  }

  *finish(): Generator<RecordBatch> {
    if (this.state !== 'end') throw new RangeError('the rows of postgresql are cut off');
    if (this.rows > 0) yield this.take();
  }

  private readHeader({ bytes, view }: ByteSource): number {
    if (bytes.length < HEADER_BYTES) return 0;
    if (view.getInt32(FLAGS_AT) !== 0 || view.getInt32(FLAGS_AT + 4) !== 0)
      throw new RangeError('a COPY stream has an unknown header');
    this.state = 'rows';
    return HEADER_BYTES;
  }

  /** Position behind the row at `at`; negative when it has not come in whole, or at the end of the stream. */
  private rowEnd({ bytes, view }: ByteSource, start: number): number {
    if (start + 2 > bytes.length) return -1;
    const fields = view.getInt16(start);
    if (fields < 0) {
      this.state = 'end';
      return -1;
    }
    if (fields !== this.fields) throw new RangeError(`a row has ${fields} fields, expected ${this.fields}`);
    let at = start + 2;
    for (let field = 0; field < fields; field++) {
      if (at + 4 > bytes.length) return -1;
      at += 4 + Math.max(view.getInt32(at), 0);
    }
    return at <= bytes.length ? at : -1;
  }

  private readRow(source: ByteSource, start: number): void {
    const { view } = source;
    let at = start;
    for (const { name, decoder } of this.columns) {
      const length = view.getInt32(at);
      at += 4;
      try {
        if (length < 0) decoder.readNull();
        else decoder.read(source, at, length);
        at += Math.max(length, 0);
        if (decoder.readNanos !== undefined) {
          const nanos = view.getInt32(at);
          at += 4;
          decoder.readNanos(source, nanos < 0 ? -1 : at);
          at += Math.max(nanos, 0);
        }
      } catch (error) {
        if (error instanceof RangeError) throw new RangeError(`column ${name}: ${error.message}`, { cause: error });
        throw error;
      }
    }
  }

  private take(): RecordBatch {
    const batch = recordBatch(this.columns.map(({ name, decoder }) => ({ name, data: decoder.finish() })));
    this.begin();
    return batch;
  }
}
