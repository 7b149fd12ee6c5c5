/** Read-only SQL on ClickHouse: `readonly=1`, limits of rows and time, the store's own formats. */
import type { Readable } from 'node:stream';
import { type ClickHouseClient, ClickHouseError, ClickHouseLogLevel, createClient } from '@clickhouse/client';
import { SqlError, type SqlFormat, type SqlLimits, type SqlResult, type SqlStore, toIngestError } from './answer';

const FORMATS = {
  json: { name: 'JSONCompact', contentType: 'application/json' },
  csv: { name: 'CSVWithNames', contentType: 'text/csv; charset=utf-8; header=present' },
  arrow: { name: 'ArrowStream', contentType: 'application/vnd.apache.arrow.stream' },
} as const;

/** Codes that say that the server is in trouble, not the query: timeouts of sockets, memory, too many queries, shutdown. */
const UNAVAILABLE = new Set(['202', '209', '210', '236', '241', '242', '439']);
const TIMEOUT = new Set(['159', '160']);

export class ClickHouseSql implements SqlStore {
  private readonly client: ClickHouseClient;

  constructor(
    url: string,
    private readonly limits: SqlLimits,
  ) {
    // A little over the query's own limit: the server's answer is better than our hanging up.
    this.client = createClient({
      url,
      application: 'thermocline-sql',
      request_timeout: limits.timeoutMs + 5_000,
      max_open_connections: 4,
      // Errors are thrown; the client would print them besides.
      log: { level: ClickHouseLogLevel.OFF },
    });
  }

  async query(sql: string, format: SqlFormat): Promise<SqlResult> {
    const { contentType } = FORMATS[format];
    const startedAt = performance.now();
    try {
      const stream = await this.exec(sql, format, {
        max_execution_time: Math.ceil(this.limits.timeoutMs / 1000),
        max_result_rows: String(this.limits.rowsMax + 1),
        result_overflow_mode: 'break',
        wait_end_of_query: 1,
      });
      const chunks: Buffer[] = [];
      for await (const chunk of stream) chunks.push(chunk as Buffer);
      const bytes = Buffer.concat(chunks);
      return { contentType, body: format === 'json' ? this.toAnswer(bytes, performance.now() - startedAt) : bytes };
    } catch (error) {
      throw coldError(error);
    }
  }

  /** The store's own stream; no limit of rows or time, as long as the caller takes them. */
  async *stream(sql: string): AsyncGenerator<Uint8Array> {
    try {
      for await (const chunk of await this.exec(sql, 'arrow', {})) yield chunk as Buffer;
    } catch (error) {
      throw toIngestError(coldError(error));
    }
  }

  private async exec(sql: string, format: SqlFormat, settings: object): Promise<Readable> {
    const { stream } = await this.client.exec({
      query: `${sql.replace(/[\s;]+$/, '')}\nFORMAT ${FORMATS[format].name}`,
      clickhouse_settings: {
        readonly: '1',
        output_format_json_quote_64bit_integers: 1,
        output_format_json_quote_decimals: 1,
        output_format_json_quote_denormals: 1,
        date_time_output_format: 'iso',
        output_format_arrow_compression_method: 'none',
        ...settings,
      } as never,
    });
    return stream;
  }

  /** ClickHouse's JSONCompact in the shape of our answer. */
  private toAnswer(bytes: Buffer, elapsedMs: number): string {
    const { meta, data } = JSON.parse(bytes.toString('utf8')) as { meta: { name: string; type: string }[]; data: unknown[][] };
    const truncated = data.length > this.limits.rowsMax;
    const rows = truncated ? data.slice(0, this.limits.rowsMax) : data;
    return JSON.stringify({
      columns: meta,
      rows,
      elapsed_ms: Math.round(elapsedMs * 1000) / 1000,
      ...(truncated ? { truncated } : {}),
    });
  }

  async close(): Promise<void> {
    await this.client.close();
  }
}

export function coldError(error: unknown): SqlError {
  if (error instanceof ClickHouseError) {
    const { code } = error;
    if (TIMEOUT.has(code)) return new SqlError('the query took too long', code, 'timeout', { cause: error });
    const kind = UNAVAILABLE.has(code) ? 'unavailable' : 'invalid';
    return new SqlError(error.message, code, kind, { cause: error });
  }
  return new SqlError('clickhouse does not answer', '', 'unavailable', { cause: error });
}
