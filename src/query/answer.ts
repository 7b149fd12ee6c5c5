import { IngestError } from '../core/errors';
import type { ArrowSql } from '../core/query';

/** One answer of `POST /api/sql`: column names and types, and rows whose values are JSON texts already. */
export interface SqlAnswer {
  readonly columns: readonly { name: string; type: string }[];
  /** Each value as JSON text: what is exact stays exact (64-bit integers and decimals as strings, jsonb verbatim). */
  readonly rows: readonly (readonly string[])[];
  readonly elapsedMs: number;
  /** More rows were there than the limit allows. */
  readonly truncated: boolean;
}

export type SqlFormat = 'json' | 'arrow' | 'csv';

/** What a client gets back, ready to send. */
export interface SqlResult {
  readonly contentType: string;
  readonly body: Uint8Array | string;
}

export interface SqlLimits {
  readonly rowsMax: number;
  readonly timeoutMs: number;
}

/** A query that the store refuses: the client's mistake, told with the store's code. */
export class SqlError extends Error {
  constructor(
    message: string,
    /** SQLSTATE or ClickHouse code; '' when the store gave none. */
    readonly storeCode: string,
    readonly kind: 'invalid' | 'unavailable' | 'timeout',
    options?: { cause: unknown },
  ) {
    super(message, options);
    this.name = 'SqlError';
  }
}

/** The same error in the words of the adapters. */
export function toIngestError(error: SqlError): IngestError {
  const codes = { invalid: 'invalid_argument', unavailable: 'unavailable', timeout: 'deadline_exceeded' } as const;
  return new IngestError(codes[error.kind], error.message, { cause: error });
}

/** One store that answers read-only SQL. */
export interface SqlStore extends ArrowSql {
  query(sql: string, format: SqlFormat): Promise<SqlResult>;
  close(): Promise<void>;
}

export function answerToJson(answer: SqlAnswer): SqlResult {
  const columns = JSON.stringify(answer.columns);
  const rows = answer.rows.map((row) => `[${row.join(',')}]`).join(',');
  const truncated = answer.truncated ? ',"truncated":true' : '';
  return {
    contentType: 'application/json',
    body: `{"columns":${columns},"rows":[${rows}],"elapsed_ms":${answer.elapsedMs}${truncated}}`,
  };
}
