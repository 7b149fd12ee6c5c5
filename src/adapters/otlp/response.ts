/**
 * `Export<Signal>ServiceResponse` in both encodings. All three messages have the same field numbers: partial_success 1, and
 * in it the count of rejected rows 1 (int64) and error_message 2.
 */
import { Writer } from 'protobufjs/minimal';
import type { DecodedRequest } from '../../core/batch';
import type { Signal } from '../../core/builtin-tables';
import type { WriteReceipt } from '../../core/ingest';
import { LIMITS } from '../../core/limits';
import { SIGNALS } from './signal';

const EMPTY = Buffer.alloc(0);
const EMPTY_JSON = Buffer.from('{}');
/** Room for field tags, the count and JSON escapes beside the text. */
const ENVELOPE_BYTES = 256;

/** Full success is a message without fields (OH4); anything else sets partial_success (OH6, OH7). */
export function encodeResponse(decoded: DecodedRequest, responseBytesMax: number = LIMITS.responseBytesMax): Buffer {
  const text = partialMessage(decoded, responseBytesMax - ENVELOPE_BYTES);
  if (text === undefined) return EMPTY;
  return encodePartial(decoded.rejectedRows, text);
}

/** An answer with partial_success. */
export function encodePartial(rejectedRows: number, text: string): Buffer {
  const partial = Writer.create();
  if (rejectedRows > 0) partial.uint32(0x08).int64(rejectedRows);
  partial.uint32(0x12).string(text);
  return Buffer.from(Writer.create().uint32(0x0a).bytes(partial.finish()).finish());
}

export function encodeResponseJson(
  signal: Signal,
  decoded: DecodedRequest,
  responseBytesMax: number = LIMITS.responseBytesMax,
): Buffer {
  // An escaped character takes up to six bytes.
  const text = partialMessage(decoded, Math.floor((responseBytesMax - ENVELOPE_BYTES) / 6));
  if (text === undefined) return EMPTY_JSON;
  const count = decoded.rejectedRows > 0 ? { [SIGNALS[signal].rejectedJson]: String(decoded.rejectedRows) } : {};
  return Buffer.from(JSON.stringify({ partialSuccess: { ...count, errorMessage: text } }));
}

/** The request with a word on rows that became dead letters: they are neither accepted nor rejected. */
export function withParked(decoded: DecodedRequest, { parkedRows = 0 }: WriteReceipt): DecodedRequest {
  if (parkedRows === 0) return decoded;
  const warning = `${parkedRows} rows became dead letters because of their labels`;
  return { ...decoded, acceptedRows: decoded.acceptedRows - parkedRows, warnings: [...(decoded.warnings ?? []), warning] };
}

/**
 * Why rows were rejected, one clause each until `bytesMax` is reached (OH11: the text shrinks, the count stays exact);
 * undefined when there is nothing to say.
 */
export function partialMessage(decoded: DecodedRequest, bytesMax: number): string | undefined {
  const { rejectedRows, rejections } = decoded;
  const warnings = decoded.warnings ?? [];
  if (rejectedRows === 0 && warnings.length === 0) return undefined;
  const clauses = rejections.map(({ row, code, column, message }) => {
    return `row ${row}${column === undefined ? '' : `, ${column}`}: ${code}: ${message}`;
  });
  const head = rejectedRows === 0 ? [] : [`${rejectedRows} of ${rejectedRows + decoded.acceptedRows} rows rejected`];
  const parts = [...head, ...clauses, ...warnings].map((part) => Buffer.from(part).toString());
  let text = '';
  let sizeBytes = 0;
  for (const part of parts) {
    const clause = text === '' ? part : `; ${part}`;
    sizeBytes += Buffer.byteLength(clause);
    if (sizeBytes > bytesMax) return text === '' ? cut(part, bytesMax) : text;
    text += clause;
  }
  if (rejectedRows > rejections.length && sizeBytes + 5 <= bytesMax) text += '; ...';
  return text;
}

/** The beginning of a text whose first clause is too long already, never in the middle of a character. */
function cut(text: string, bytesMax: number): string {
  return Buffer.from(text)
    .subarray(0, bytesMax)
    .toString()
    .replace(/\uFFFD+$/, '');
}
