/** Responses: headers as the server sends them, and compression. */
import { createReadStream } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable, type Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createBrotliCompress, createDeflate, createGzip } from 'node:zlib';
import type { EngineInfo } from './engine';
import { type ClickHouseException, exceptionText, httpStatus } from './exception';

export interface Summary {
  readonly readRows: number;
  readonly readBytes: number;
  readonly writtenRows: number;
  readonly writtenBytes: number;
  readonly resultRows: number;
  readonly resultBytes: number;
  readonly elapsedMs: number;
}

export interface AnswerHeaders {
  readonly info: EngineInfo;
  readonly queryId: string;
  readonly format: string;
  readonly contentType: string;
  readonly summary: Summary;
}

/** Sends a result from a file or from memory. A failure in the middle breaks the connection, so that no client takes it for whole. */
export async function sendResult(
  request: IncomingMessage,
  response: ServerResponse,
  headers: AnswerHeaders,
  result: { readonly file: string; readonly sizeBytes: number } | Buffer,
  compression: { readonly enabled: boolean; readonly level: number },
): Promise<void> {
  response.statusCode = 200;
  setHeaders(response, headers);
  const encoding = compression.enabled ? chooseEncoding(request.headers['accept-encoding'] ?? '') : undefined;
  const sizeBytes = Buffer.isBuffer(result) ? result.length : result.sizeBytes;
  if (encoding === undefined) response.setHeader('Content-Length', sizeBytes);
  else response.setHeader('Content-Encoding', encoding);
  if (request.method === 'HEAD') {
    response.end();
    return;
  }
  const source = Buffer.isBuffer(result) ? Readable.from([result], { objectMode: false }) : createReadStream(result.file);
  try {
    if (encoding === undefined) await pipeline(source, response);
    else await pipeline(source, encoder(encoding, compression.level), response);
  } catch {
    // The client went away or the file could not be read: the status is sent, only a broken connection still tells.
    response.destroy();
  }
}

export function sendException(
  response: ServerResponse,
  exception: ClickHouseException,
  version: string,
  headers: { readonly queryId?: string; readonly format?: string; readonly timezone?: string } = {},
): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const body = exceptionText(exception, version);
  response.statusCode = httpStatus(exception);
  response.setHeader('Content-Type', 'text/plain; charset=UTF-8');
  response.setHeader('X-ClickHouse-Exception-Code', exception.code);
  if (headers.queryId !== undefined) response.setHeader('X-ClickHouse-Query-Id', headerText(headers.queryId));
  if (headers.format !== undefined) response.setHeader('X-ClickHouse-Format', headers.format);
  if (headers.timezone !== undefined) response.setHeader('X-ClickHouse-Timezone', headers.timezone);
  response.end(body);
}

function setHeaders(response: ServerResponse, headers: AnswerHeaders): void {
  response.setHeader('Content-Type', headers.contentType);
  response.setHeader('X-ClickHouse-Server-Display-Name', headerText(headers.info.displayName));
  response.setHeader('X-ClickHouse-Query-Id', headerText(headers.queryId));
  response.setHeader('X-ClickHouse-Format', headers.format);
  response.setHeader('X-ClickHouse-Timezone', headers.info.timezone);
  response.setHeader('X-ClickHouse-Summary', JSON.stringify(summaryJson(headers.summary)));
}

/** Numbers as strings, as the server writes them. */
function summaryJson(summary: Summary): Record<string, string> {
  return {
    read_rows: String(summary.readRows),
    read_bytes: String(summary.readBytes),
    written_rows: String(summary.writtenRows),
    written_bytes: String(summary.writtenBytes),
    total_rows_to_read: '0',
    result_rows: String(summary.resultRows),
    result_bytes: String(summary.resultBytes),
    elapsed_ns: String(Math.round(summary.elapsedMs * 1e6)),
  };
}

/** A header takes no other characters. */
function headerText(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}

type Encoding = 'gzip' | 'deflate' | 'br';

function chooseEncoding(accepted: string): Encoding | undefined {
  const names = new Set(
    accepted
      .split(',')
      .map((item) => item.trim().toLowerCase())
      .filter((item) => !/;\s*q=0(\.0*)?$/.test(item))
      .map((item) => item.split(';')[0].trim()),
  );
  return (['gzip', 'deflate', 'br'] as const).find((name) => names.has(name));
}

function encoder(encoding: Encoding, level: number): Transform {
  if (encoding === 'br') return createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: Math.min(11, level) } });
  return encoding === 'gzip' ? createGzip({ level }) : createDeflate({ level });
}
