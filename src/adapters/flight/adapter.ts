/** Arrow Flight and the part of Flight SQL that ingest and simple reading need, on the raw messages of grpc-js. */
import type {
  handleUnaryCall,
  Metadata,
  ServerDuplexStream,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  sendUnaryData,
} from '@grpc/grpc-js';
import { identifier } from '../../core/clickhouse-sql';
import { IngestError } from '../../core/errors';
import type { TableName } from '../../core/ids';
import type { BatchStatus, Ingest } from '../../core/ingest';
import { quoteIdentifier } from '../../core/postgres-sql';
import type { ArrowSql } from '../../core/query';
import type { RowEraser } from '../../core/row-eraser';
import type { SchemaRegistry } from '../../core/schema-registry';
import type { TableSchema, Tier } from '../../core/table-schema';
import type { Telemetry } from '../../telemetry';
import { parseAck } from '../ack';
import { DRY_RUN_HEADER, type DryRunStores, NO_STORES } from '../dry-run';
import { asBytes, type GrpcService } from '../grpc-contract';
import { grpcServiceError } from '../grpc-status';
import { IDEMPOTENCY_HEADER, idempotencyOf } from '../idempotency-key';
import { RequestMetrics } from '../request-metrics';
import type { Parking } from '../row-rejections';
import { checkTableName } from '../schema-on-write';
import { isSet } from '../switch';
import { type FlightProgress, listActions, runAction } from './actions';
import { StreamDryRun } from './dry-run';
import { handshake, type Login, openLogin } from './handshake';
import { firstSchema, flightMessages } from './ipc-parts';
import {
  pathElement,
  readAction,
  readBytes,
  readDescriptor,
  writeBytes,
  writeFlightInfo,
  writeMetadataOnly,
  writePathDescriptor,
} from './messages';
import { PutStream } from './put-stream';
import { replaceTable } from './replace-table';
import { readSqlCommand, readStatementQuery, type SqlCommand } from './sql-messages';
import { sqlMetadata } from './sql-metadata';
import { tableSchemaMessage } from './table-types';
import { checkedTier, destinationOf, TableWriter } from './table-writer';
import { readTicket, sqlTicket, tableTicket } from './ticket';
import { malformed } from './wire';

export interface FlightAdapterOptions {
  readonly ingest: Ingest;
  readonly registry: SchemaRegistry;
  readonly progress: FlightProgress;
  readonly batches: BatchStatus;
  /** The stores that answer DoGet; without one its tables and statements are UNIMPLEMENTED. */
  readonly sql: Readonly<Record<Tier, ArrowSql | undefined>>;
  /** For the mode `replace` of bulk ingest; without one it is UNIMPLEMENTED. */
  readonly erasers: readonly RowEraser[];
  /** For dry runs; none by default. */
  readonly stores?: DryRunStores;
  readonly telemetry: Telemetry;
  /** Which rows that do not fit a table become dead letters; by default those of columns whose policy says so. */
  readonly parking?: (table: TableName) => Parking;
  /** Default: everybody may come in. */
  readonly login?: Login;
  readonly windowBytes?: number;
  readonly admissionWaitMs?: number;
  readonly nowNs?: () => bigint;
}

const WINDOW_BYTES = 16 * 1024 * 1024;
const ADMISSION_WAIT_MS = 30_000;
/** PostgreSQL cuts longer names. */
const POSTGRES_NAME_BYTES_MAX = 63;
const NAME = 'arrow.flight.protocol.FlightService';

type DuplexCall = ServerDuplexStream<Buffer, Buffer>;
type WritableCall = ServerWritableStream<Buffer, Buffer>;

export class FlightAdapter {
  readonly services: readonly GrpcService[];
  private readonly metrics: RequestMetrics;
  private readonly streams = new Set<PutStream>();
  private readonly nowNs: () => bigint;
  private isStopping = false;

  constructor(private readonly options: FlightAdapterOptions) {
    this.metrics = new RequestMetrics(options.telemetry, 'flight');
    this.nowNs = options.nowNs ?? (() => BigInt(Date.now()) * 1_000_000n);
    this.services = [
      {
        name: NAME,
        definition: DEFINITION,
        protoFile: 'arrow/flight/protocol/Flight.proto',
        drain: () => this.drain(),
        implementation: {
          handshake: (call: DuplexCall) => handshake(call, options.login ?? openLogin),
          listFlights: (call: WritableCall) => serve(call, () => this.listFlights(call)),
          getFlightInfo: unary((call) => this.flightInfo(call)),
          pollFlightInfo: unary(() => {
            throw new IngestError('unimplemented', 'PollFlightInfo is not implemented');
          }),
          getSchema: unary((call) => this.schemaOf(call)),
          doGet: (call: WritableCall) => serve(call, () => this.read(call)),
          doPut: (call: DuplexCall) => this.receive(call, writeBytes),
          doExchange: (call: DuplexCall) => this.receive(call, writeMetadataOnly),
          doAction: (call: WritableCall) => serve(call, () => this.act(call)),
          listActions: (call: WritableCall) => serve(call, listActions),
        },
      },
    ];
  }

  /** Streams of batches read no further, answer what is on its way and end with UNAVAILABLE; new ones end at once. */
  private drain(): void {
    this.isStopping = true;
    for (const stream of this.streams) stream.fail(stopping());
  }

  private receive(call: DuplexCall, writeAck: (appMetadata: Buffer) => Buffer): void {
    const {
      progress,
      erasers,
      stores = NO_STORES,
      windowBytes = WINDOW_BYTES,
      admissionWaitMs = ADMISSION_WAIT_MS,
    } = this.options;
    let dryRun: StreamDryRun | undefined;
    let ack: ReturnType<typeof parseAck>;
    let tier: Tier | undefined;
    let key: string | undefined;
    try {
      ack = parseAck(headerOf(call.metadata, 'x-ack'));
      key = headerOf(call.metadata, IDEMPOTENCY_HEADER);
      idempotencyOf(key, []);
      tier = tierOf(call.metadata);
      if (isDryRun(call.metadata)) dryRun = new StreamDryRun(this.options, stores);
    } catch (error) {
      call.emit('error', grpcServiceError(IngestError.from(error)));
      return;
    }
    const replace = dryRun === undefined ? (table: TableName) => replaceTable(table, progress, erasers) : () => Promise.resolve();
    const replaceRows = erasers.length === 0 ? undefined : replace;
    const { registry } = dryRun ?? this.options;
    const stream = new PutStream(call, {
      ingest: dryRun ?? this.options.ingest,
      metrics: this.metrics,
      nowNs: this.nowNs,
      ack,
      key,
      windowBytes,
      admissionWaitMs,
      writeAck,
      ...(dryRun === undefined ? {} : { report: dryRun.report.bind(dryRun) }),
      writer: ({ descriptor }) => {
        const destination = destinationOf(descriptor, tier);
        return new TableWriter(destination, registry, replaceRows, this.options.parking?.(destination.table));
      },
    });
    this.streams.add(stream);
    if (this.isStopping) stream.fail(stopping());
    void stream.run().finally(() => this.streams.delete(stream));
  }

  private async *listFlights(call: WritableCall): AsyncGenerator<Buffer> {
    const prefix = readBytes(call.request, 'Criteria').toString();
    for (const { table } of this.options.registry.list()) {
      if (table.startsWith(prefix)) yield await this.tableInfo(table, writePathDescriptor(table));
    }
  }

  private async flightInfo(call: ServerUnaryCall<Buffer, Buffer>): Promise<Buffer> {
    const descriptor = readDescriptor(call.request);
    if (descriptor.type === 'path') return this.tableInfo(checkTableName(pathElement(descriptor)), descriptor.bytes);
    if (descriptor.type !== 'cmd') throw malformed('the descriptor must be a path or a command');
    const command = readSqlCommand(descriptor.cmd);
    if (command === undefined) throw malformed('the command is not a Flight SQL message');
    const ticket = statementTicket(command, tierOf(call.metadata) ?? 'hot');
    if (ticket !== undefined) return writeFlightInfo({ schema: Buffer.alloc(0), descriptor: descriptor.bytes, ticket });
    const rows = sqlMetadata(command, this.options.registry.list());
    if (rows === undefined) throw notImplemented(command);
    // Answered from memory: the command itself is the ticket.
    return writeFlightInfo({ schema: firstMessage(rows), descriptor: descriptor.bytes, ticket: descriptor.cmd });
  }

  private async tableInfo(table: TableName, descriptor: Buffer): Promise<Buffer> {
    return writeFlightInfo({ schema: await this.tableSchema(table), descriptor, ticket: tableTicket(table) });
  }

  /** The schema that DoGet gives, as the store says it; while it has no such table, or does not answer, that of accepted rows. */
  private async tableSchema(table: TableName): Promise<Uint8Array> {
    const schema = this.options.registry.get(table);
    if (schema === undefined) throw new IngestError('not_found', `there is no table ${table}`);
    const store = this.options.sql[schema.tier];
    if (store === undefined) return tableSchemaMessage(schema);
    return firstSchema(store.stream(`${selectAll(schema)} LIMIT 0`)).catch(() => tableSchemaMessage(schema));
  }

  private async schemaOf(call: ServerUnaryCall<Buffer, Buffer>): Promise<Buffer> {
    const descriptor = readDescriptor(call.request);
    if (descriptor.type === 'path') return writeBytes(await this.tableSchema(checkTableName(pathElement(descriptor))));
    const command = descriptor.type === 'cmd' ? readSqlCommand(descriptor.cmd) : undefined;
    if (command === undefined) throw malformed('the descriptor must be a path or a Flight SQL command');
    const rows = sqlMetadata(command, this.options.registry.list());
    if (rows === undefined) throw notImplemented(command);
    return writeBytes(firstMessage(rows));
  }

  private read(call: WritableCall): AsyncIterable<Buffer> {
    const wanted = readTicket(readBytes(call.request, 'Ticket'));
    if (wanted.kind === 'sql') return flightMessages(this.store(wanted.tier).stream(wanted.sql));
    if (wanted.kind === 'command') {
      const rows = sqlMetadata(wanted.command, this.options.registry.list());
      if (rows === undefined) throw notImplemented(wanted.command);
      return flightMessages([rows]);
    }
    const schema = this.options.registry.get(wanted.table);
    if (schema === undefined) throw new IngestError('not_found', `there is no table ${wanted.table}`);
    return flightMessages(this.store(schema.tier).stream(selectAll(schema)));
  }

  private store(tier: Tier): ArrowSql {
    const store = this.options.sql[tier];
    if (store === undefined) throw new IngestError('unimplemented', `the ${tier} store answers no statements`);
    return store;
  }

  private async *act(call: WritableCall): AsyncGenerator<Buffer> {
    const gone = new AbortController();
    call.once('cancelled', () => gone.abort());
    const { registry, progress, batches, stores = NO_STORES } = this.options;
    const dryRun = isDryRun(call.metadata) ? stores : undefined;
    const tier = tierOf(call.metadata) ?? 'hot';
    const context = { registry, progress, batches, tier, dryRun, signal: gone.signal };
    const result = await runAction(readAction(call.request), context);
    if (result !== undefined) yield writeBytes(result);
  }
}

const stopping = (): IngestError => new IngestError('unavailable', 'server is stopping', { retryAfterMs: 1_000 });

/** The ticket of a statement; undefined for a command that is none. Throws IngestError. */
function statementTicket(command: SqlCommand, tier: Tier): Buffer | undefined {
  if (command.name === 'CommandStatementQuery') {
    const { query, hasTransaction } = readStatementQuery(command.value, command.name);
    if (hasTransaction) throw new IngestError('unimplemented', 'there are no transactions');
    return sqlTicket(query, tier);
  }
  return command.name === 'CommandPreparedStatementQuery' ? readBytes(command.value, command.name) : undefined;
}

const notImplemented = ({ name }: SqlCommand): IngestError =>
  new IngestError('unimplemented', `${name.slice(0, 80)} is not implemented`);

/** The schema at the start of an IPC stream, with its prefix. */
function firstMessage(stream: Uint8Array): Uint8Array {
  return stream.subarray(0, 8 + Buffer.from(stream.buffer, stream.byteOffset, stream.length).readUInt32LE(4));
}

/** All rows of a table, under its own column names as far as the store takes them; our own columns stay out. */
function selectAll({ table, tier, columns }: TableSchema): string {
  const items = columns.map(({ name, storeName }) => {
    if (storeName === undefined) return quoted(name, tier);
    const fits = tier === 'cold' || Buffer.byteLength(name) <= POSTGRES_NAME_BYTES_MAX;
    return fits ? `${quoted(storeName, tier)} AS ${quoted(name, tier)}` : quoted(storeName, tier);
  });
  return `SELECT ${items.join(', ')} FROM ${quoted(table, tier)}`;
}

/** An identifier in the SQL of the store. */
const quoted = (name: string, tier: Tier): string => (tier === 'hot' ? quoteIdentifier(name) : identifier(name));

function headerOf(metadata: Metadata, name: string): string | undefined {
  const [value] = metadata.get(name);
  return value === undefined ? undefined : String(value);
}

const isDryRun = (metadata: Metadata): boolean => isSet(headerOf(metadata, DRY_RUN_HEADER), DRY_RUN_HEADER);

/** Which store a call means, by the header `x-tier`. */
const tierOf = (metadata: Metadata): Tier | undefined => checkedTier(headerOf(metadata, 'x-tier'), 'x-tier');

function unary(answer: (call: ServerUnaryCall<Buffer, Buffer>) => Buffer | Promise<Buffer>): handleUnaryCall<Buffer, Buffer> {
  return (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => {
    const answered = async (): Promise<Buffer> => answer(call);
    answered().then(
      (response) => callback(null, response),
      (error: unknown) => callback(grpcServiceError(IngestError.from(error))),
    );
  };
}

type Messages = AsyncIterable<Buffer> | Iterable<Buffer>;

/** Sends messages as fast as the client takes them, and leaves the rest once the client is gone. */
function serve(call: WritableCall, messages: () => Messages): void {
  void sendAll(call, messages).catch((error: unknown) => call.emit('error', grpcServiceError(IngestError.from(error))));
}

async function sendAll(call: WritableCall, messages: () => Messages): Promise<void> {
  for await (const message of messages()) {
    if (call.destroyed) return;
    if (!call.write(message)) await drained(call);
  }
  call.end();
}

function drained(call: WritableCall): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      call.off('drain', done).off('close', done);
      resolve();
    };
    call.once('drain', done).once('close', done);
  });
}

function method(name: string, requestStream: boolean, responseStream: boolean): ServiceDefinition[string] {
  return {
    path: `/${NAME}/${name}`,
    requestStream,
    responseStream,
    requestSerialize: asBytes,
    requestDeserialize: asBytes,
    responseSerialize: asBytes,
    responseDeserialize: asBytes,
  };
}

const DEFINITION: ServiceDefinition = {
  handshake: method('Handshake', true, true),
  listFlights: method('ListFlights', false, true),
  getFlightInfo: method('GetFlightInfo', false, false),
  pollFlightInfo: method('PollFlightInfo', false, false),
  getSchema: method('GetSchema', false, false),
  doGet: method('DoGet', false, true),
  doPut: method('DoPut', true, true),
  doExchange: method('DoExchange', true, true),
  doAction: method('DoAction', false, true),
  listActions: method('ListActions', false, true),
};
