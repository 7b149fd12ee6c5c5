/**
 * REST (DESIGN section 4): `POST /write/{table}` takes rows as JSON, NDJSON or an Arrow IPC stream; tables and columns are made
 * as the rows need them, but only for a request of which at least one row is accepted; with `?dry_run=1` the answer is what
 * would happen, and nothing does. `/schema` shows, registers and compares tables (schema-routes.ts).
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { DecodedRequest } from '../../core/batch';
import { LOGS_EVENTS, METRICS_EVENTS, TRACES_SPANS } from '../../core/builtin-tables';
import { IngestError } from '../../core/errors';
import { type TableName, tableName } from '../../core/ids';
import type { Ingest, WriteReceipt } from '../../core/ingest';
import { LIMITS } from '../../core/limits';
import type { SchemaRegistry } from '../../core/schema-registry';
import type { TableSchema } from '../../core/table-schema';
import type { Telemetry } from '../../telemetry';
import { parseAck } from '../ack';
import { type DryRunStores, dryRunJson, dryRunOf, dryRunOfRows, NO_ROWS, NO_STORES } from '../dry-run';
import type { HttpAdapter, HttpExchange, HttpReply, HttpRoute } from '../http-contract';
import { IDEMPOTENCY_HEADER, idempotencyOf } from '../idempotency-key';
import { mediaType } from '../media-type';
import type { InferredColumns } from '../new-columns';
import { type ReceivedBody, withBody } from '../request-body';
import { RequestMetrics } from '../request-metrics';
import { nothingTaken, type Parking, settled } from '../row-rejections';
import { checkTableName, decodeForTable, type NamedRows } from '../schema-on-write';
import { STATUS, statusText } from '../status';
import { isSet } from '../switch';
import { arrowColumns, decodeArrowStream } from './decode-arrow';
import { type DecodeContext, decodeJsonRows } from './decode-json';
import { inferColumns } from './infer';
import { json } from './reply';
import { type EnsureTable, schemaRoutes } from './schema-routes';

/** A body format: what columns its rows need, and its rows as a record batch. Both throw IngestError `invalid_argument`. */
interface RowFormat {
  infer(body: Uint8Array, known: TableSchema | undefined): InferredColumns;
  decode(body: Uint8Array, schema: TableSchema, context: DecodeContext): DecodedRequest;
}

export interface RestAdapterOptions {
  readonly ingest: Ingest;
  readonly registry: SchemaRegistry;
  /** For `dry_run` and `diff`; none by default. */
  readonly stores?: DryRunStores;
  /** Makes the table in the stores and tells where it is ready; by default nothing is made. */
  readonly ensureTable?: EnsureTable;
  readonly telemetry: Telemetry;
  /** Limit after decompression; the listener has the one before. */
  readonly bodyBytesMax?: number;
  /** Which rows that do not fit a table become dead letters; by default those of columns whose policy says so. */
  readonly parking?: (table: TableName) => Parking;
  readonly nowNs?: () => bigint;
}

/** Short names of the built-in tables. */
const SHORT_NAMES: ReadonlyMap<string, TableName> = new Map([
  ['metrics', METRICS_EVENTS.table],
  ['logs', LOGS_EVENTS.table],
  ['traces', TRACES_SPANS.table],
]);

const JSON_ROWS: RowFormat = {
  infer: (body, known) => inferColumns(body, 'json', known),
  decode: (body, schema, context) => decodeJsonRows(body, 'json', schema, context),
};

const NDJSON_ROWS: RowFormat = {
  infer: (body, known) => inferColumns(body, 'ndjson', known),
  decode: (body, schema, context) => decodeJsonRows(body, 'ndjson', schema, context),
};

const ARROW_ROWS: RowFormat = { infer: arrowColumns, decode: decodeArrowStream };

export class RestAdapter implements HttpAdapter {
  readonly routes: readonly HttpRoute[];
  private readonly metrics: RequestMetrics;
  private readonly nowNs: () => bigint;

  constructor(private readonly options: RestAdapterOptions) {
    this.metrics = new RequestMetrics(options.telemetry, 'rest');
    this.nowNs = options.nowNs ?? (() => BigInt(Date.now()) * 1_000_000n);
    this.routes = [
      { method: 'POST', path: '/write/:table', handle: (exchange) => this.write(exchange) },
      ...schemaRoutes({ ...options, stores: options.stores ?? NO_STORES, tableOf: shownTable }),
    ];
  }

  claims(path: string): boolean {
    return path.startsWith('/write') || path.startsWith('/schema');
  }

  renderError(error: IngestError, _headers: IncomingHttpHeaders): HttpReply {
    const { message, at } = statusText(error);
    const place = at === undefined ? {} : { at };
    return json(STATUS[error.code].http, { error: { code: error.code, message, ...place, ...error.details } });
  }

  private async write(exchange: HttpExchange): Promise<HttpReply> {
    try {
      const format = formatOf(exchange.headers);
      const table = tableOf(exchange.param);
      const ack = parseAck(exchange.headers['x-ack'] as string | undefined);
      const dryRun = isSet(exchange.query.get('dry_run'), 'dry_run');
      const limitBytes = this.options.bodyBytesMax ?? LIMITS.requestBytesMax;
      return await withBody(exchange, this.options.ingest, limitBytes, async (received) => {
        this.metrics.received(received.wireBytes);
        if (dryRun) return this.dryRun(table, format, received);
        // No bytes are no JSON rows; an Arrow stream has a schema at least.
        const nothing = received.body.length === 0 && format !== ARROW_ROWS;
        const decoded = nothing ? NO_ROWS : await this.decode(table, format, received);
        const key = idempotencyOf(exchange.headers[IDEMPOTENCY_HEADER] as string | undefined, [table, received.body]);
        const { batches, parked = [] } = decoded;
        const receipt = await this.options.ingest.write({ protocol: 'rest', batches, parked, ack, ...key });
        if (nothingTaken(decoded)) this.metrics.refused(decoded, table);
        else this.metrics.acknowledged(decoded, received.receivedAtMs, table);
        return answer(table, decoded, receipt);
      });
    } catch (error) {
      this.metrics.failed(IngestError.from(error).code);
      throw error;
    }
  }

  private decode(table: TableName, format: RowFormat, received: ReceivedBody): Promise<DecodedRequest> {
    return decodeForTable(this.options.registry, table, this.rows(format, received), this.parking(table));
  }

  private parking(table: TableName): Parking {
    return this.options.parking?.(table) ?? 'columns';
  }

  private rows(format: RowFormat, { body, reserveUnpacked }: ReceivedBody): NamedRows {
    const arrivalNs = this.nowNs();
    return {
      infer: (known) => format.infer(body, known),
      decode: (schema, parking) => format.decode(body, schema, { arrivalNs, parking, reserveUnpacked }),
    };
  }

  /** What the rows would do. */
  private dryRun(table: TableName, format: RowFormat, received: ReceivedBody): HttpReply {
    const { registry, stores = NO_STORES } = this.options;
    const known = registry.get(table);
    const nothing = received.body.length === 0 && format !== ARROW_ROWS;
    const run = nothing
      ? dryRunOf({ table, known, after: known }, NO_ROWS, stores)
      : dryRunOfRows(registry, table, this.rows(format, received), stores, this.parking(table));
    return json(200, dryRunJson(run));
  }
}

function formatOf(headers: IncomingHttpHeaders): RowFormat {
  const header = headers['content-type'];
  if (header === undefined || header === '') return JSON_ROWS;
  switch (mediaType(header)) {
    case 'json':
      return JSON_ROWS;
    case 'ndjson':
      return NDJSON_ROWS;
    case 'arrow':
      return ARROW_ROWS;
    case 'protobuf':
    case undefined: {
      const known = 'application/json, application/x-ndjson or application/vnd.apache.arrow.stream';
      throw new IngestError('unsupported_media_type', `content-type must be ${known}`);
    }
  }
}

/** The table whose schema is asked for, undefined for a name that cannot be one. */
const shownTable = (name: string): TableName | undefined => SHORT_NAMES.get(name) ?? tableName(name);

const tableOf = (name: string): TableName => SHORT_NAMES.get(name) ?? checkTableName(name);

function answer(table: TableName, decoded: DecodedRequest, receipt: WriteReceipt): HttpReply {
  const { acceptedRows, parkedRows, rejectedRows, rejections } = settled(decoded, receipt);
  return json(nothingTaken(decoded) ? 400 : 200, {
    batch: receipt.batch,
    table,
    accepted: acceptedRows,
    rejected: rejectedRows,
    rejections,
    ...(parkedRows === 0 ? {} : { dead_letters: parkedRows }),
  });
}
