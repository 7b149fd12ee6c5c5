import { Bool, type DataType, Float64, Int32, Int64, makeData, TimestampMicrosecond, Utf8, vectorFromArray } from 'apache-arrow';
import { encodeIpc } from '../columnar/ipc';
import { recordBatch } from '../columnar/record-batch';
import type { SqlAnswer, SqlResult } from './answer';

/** RFC 4180 with a header line; null is an empty field. */
export function answerToCsv(answer: SqlAnswer): SqlResult {
  const lines = [answer.columns.map((column) => csvField(column.name))];
  for (const row of answer.rows) lines.push(row.map((json) => csvField(plainText(json))));
  return {
    contentType: 'text/csv; charset=utf-8; header=present',
    body: lines.map((fields) => `${fields.join(',')}\r\n`).join(''),
  };
}

const csvField = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** JSON text of a value as people read it: a string without its quotes, null as nothing. */
function plainText(json: string): string {
  if (json === 'null') return '';
  return json.startsWith('"') ? (JSON.parse(json) as string) : json;
}

/** An Arrow IPC stream of one record batch: numbers, booleans and timestamps typed, everything else as text. */
export function answerToArrow(answer: SqlAnswer): SqlResult {
  const columns = answer.columns.map(({ name, type }, i) => ({ name, data: arrowColumn(answer, i, type) }));
  const body = columns.length === 0 ? new Uint8Array() : encodeIpc(recordBatch(columns));
  return { contentType: 'application/vnd.apache.arrow.stream', body };
}

const READERS: Readonly<Record<string, { type: DataType; read: (text: string) => unknown }>> = {
  bool: { type: new Bool(), read: (text) => text === 'true' },
  int2: { type: new Int32(), read: Number },
  int4: { type: new Int32(), read: Number },
  int8: { type: new Int64(), read: BigInt },
  float4: { type: new Float64(), read: Number },
  float8: { type: new Float64(), read: Number },
  timestamptz: { type: new TimestampMicrosecond('UTC'), read: Number },
};
const TEXT = { type: new Utf8(), read: (text: string): unknown => text };

function arrowColumn(answer: SqlAnswer, index: number, type: string) {
  const texts = answer.rows.map((row) => (row[index] === 'null' ? null : plainText(row[index])));
  if (type === 'timestamptz' && texts.every((text) => text === null || text.endsWith('Z'))) return microseconds(texts);
  const { type: arrow, read } = type === 'timestamptz' ? TEXT : (READERS[type] ?? TEXT);
  const [data] = vectorFromArray(
    texts.map((text) => (text === null ? null : read(text))),
    arrow,
  ).data;
  return data ?? makeData({ type: new Utf8(), length: 0 });
}

/** ISO 8601 in UTC to int64 microseconds, exactly. */
function microseconds(texts: readonly (string | null)[]) {
  const values = new BigInt64Array(texts.length);
  const nullBitmap = new Uint8Array((texts.length + 7) >> 3);
  let nullCount = 0;
  for (const [i, text] of texts.entries()) {
    if (text === null) {
      nullCount++;
      continue;
    }
    nullBitmap[i >> 3] |= 1 << (i & 7);
    const [seconds, fraction = ''] = text.slice(0, -1).split('.');
    values[i] = BigInt(Date.parse(`${seconds}Z`)) * 1000n + BigInt(fraction.padEnd(6, '0'));
  }
  return makeData({ type: new TimestampMicrosecond('UTC'), length: texts.length, data: values, nullCount, nullBitmap });
}
