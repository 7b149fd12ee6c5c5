import type { Data, RecordBatch } from 'apache-arrow';
import { AttributesBuilder } from '../../src/columnar/attributes';
import { NumberBuilder, timestampBuilder } from '../../src/columnar/builders';
import { utf8Builder } from '../../src/columnar/bytes-builder';
import { dictionaryData } from '../../src/columnar/nested-builders';
import { recordBatch } from '../../src/columnar/record-batch';
import { ATTRIBUTE_KIND } from '../../src/core/table-schema';

export const utf8 = (values: readonly (string | null)[]): Data => {
  const builder = utf8Builder(values.length);
  for (const value of values) {
    if (value === null) builder.appendNull();
    else builder.appendString(value);
  }
  return builder.finish();
};

export const int32 = (values: readonly (number | null)[]): Data => {
  const builder = NumberBuilder.int32(values.length);
  for (const value of values) {
    if (value === null) builder.appendNull();
    else builder.append(value);
  }
  return builder.finish();
};

export const timestamps = (values: readonly (bigint | null)[]): Data => {
  const builder = timestampBuilder(values.length);
  for (const value of values) {
    if (value === null) builder.appendNull();
    else builder.appendBigInt(value);
  }
  return builder.finish();
};

/** One row an element; `kind` 1 (string) for every value. */
export const attributes = (rows: readonly Readonly<Record<string, string>>[]): Data => {
  const builder = new AttributesBuilder(1_000, rows.length);
  for (const row of rows) {
    for (const [key, value] of Object.entries(row)) {
      builder.key(builder.keys.internString(key));
      builder.text.writeString(value);
      builder.endEntry(ATTRIBUTE_KIND.string);
    }
    builder.endRow();
  }
  return builder.finish();
};

/** Dictionary-encoded data: row -> position in `values`, null for a null row. */
export const dictionary = (positions: readonly (number | null)[], values: Data): Data => dictionaryData(int32(positions), values);

export interface LogBatchOptions {
  readonly rows: number;
  /** Time of the first row; the others follow a microsecond apart. */
  readonly startNs: bigint;
}

/** Log rows as the OTLP decoder makes them: shared resources and scopes, few tags, a body and four labels of their own. */
export function logBatch({ rows, startNs }: LogBatchOptions): RecordBatch {
  const all = Array.from({ length: rows }, (_, row) => row);
  const cycle = (length: number): number[] => all.map((row) => row % length);
  return recordBatch([
    { name: 'timestamp', data: timestamps(all.map((row) => startNs + BigInt(row) * 1_000n)) },
    { name: 'app', data: dictionary(cycle(3), utf8(['checkout', 'cart', 'payments'])) },
    { name: 'host', data: dictionary(cycle(2), utf8(['node-1', 'node-2'])) },
    { name: 'trace_id', data: utf8(all.map((row) => row.toString(16).padStart(32, '0'))) },
    {
      name: 'message',
      data: utf8(all.map((row) => `GET /api/orders/${row} took ${row % 900} ms and returned 200 to the client`)),
    },
    {
      name: 'labels',
      data: attributes(
        all.map((row) => ({ 'http.method': 'GET', 'http.status_code': '200', 'http.route': '/api/orders/:id', row: `${row}` })),
      ),
    },
    { name: 'severity_number', data: int32(all.map((row) => (row % 10 === 0 ? null : 9))) },
    { name: 'level', data: dictionary(cycle(1), utf8(['INFO'])) },
    {
      name: 'resource',
      data: dictionary(
        cycle(2),
        attributes([
          { 'service.name': 'checkout', 'host.name': 'node-1', 'k8s.pod.name': 'checkout-1', 'service.version': '1.2.3' },
          { 'service.name': 'cart', 'host.name': 'node-2', 'k8s.pod.name': 'cart-1', 'service.version': '4.5.6' },
        ]),
      ),
    },
    { name: 'scope', data: dictionary(cycle(1), attributes([{ name: 'io.example', version: '1.0' }])) },
  ]);
}
