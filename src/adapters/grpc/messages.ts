/** The service of ingest.proto: its definition, and its answers. */
import { join } from 'node:path';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import type { DecodedRequest } from '../../core/batch';
import { IngestError, type RejectionCode, type RowRejection } from '../../core/errors';
import type { BatchTierStatus, WriteReceipt } from '../../core/ingest';
import type { DryRun } from '../dry-run';
import { asBytes } from '../grpc-contract';
import { settled } from '../row-rejections';
import { fitting, retryAfterMs, rowViolations, STATUS, type StatusDetails, statusMessage } from '../status';
import { Wire } from '../wire';
import { spansOf } from './fields';
import { dryRunMessage, TIERS } from './table-messages';

export const SERVICE = 'thermocline.ingest.v1.IngestService';
/** Below `proto/`. */
export const PROTO_FILE = 'thermocline/ingest/v1/ingest.proto';
const PROTO_FOLDER = join(__dirname, '..', '..', '..', 'proto');
/** `RegisterTableRequest.columns`. */
const COLUMNS_FIELD = 2;
const WRITE_RESPONSE_URL = 'type.googleapis.com/thermocline.ingest.v1.WriteResponse';

const loaded = loadSync(PROTO_FILE, { includeDirs: [PROTO_FOLDER], longs: Number, enums: String, defaults: true })[
  SERVICE
] as ServiceDefinition;

type Method = 'Write' | 'WriteStream' | 'RegisterTable' | 'GetTable' | 'ListTables' | 'GetBatch';
const method = (name: Method): MethodDefinition<object, object> => loaded[name] as MethodDefinition<object, object>;

/** Requests reach the handlers as bytes: the library would answer INTERNAL for those that cannot be read. */
export const DEFINITION: ServiceDefinition = Object.fromEntries(
  Object.entries(loaded).map(([name, definition]) => [name, { ...definition, requestDeserialize: asBytes }]),
);

/** Reads the request of a method that takes no rows. Throws IngestError `invalid_argument`. */
export function readRequest(name: Method, message: Buffer): object {
  // protobufjs takes a string that ends outside of its message for a shorter one.
  const wire = new Wire(message);
  spansOf(wire, [{ start: 0, stop: message.length }], (field, span) => {
    if (name === 'RegisterTable' && field === COLUMNS_FIELD) spansOf(wire, [span], () => undefined);
  });
  try {
    return method(name).requestDeserialize(message);
  } catch (error) {
    throw new IngestError('invalid_argument', 'the message cannot be read', { cause: error });
  }
}

export const batchMessage = (batchId: string, tiers: readonly BatchTierStatus[]): object => ({
  batchId,
  tiers: tiers.map(({ tier, delivered }) => {
    return { tier: TIERS[tier], state: delivered ? 'BATCH_STATE_DELIVERED' : 'BATCH_STATE_PENDING' };
  }),
});

const CODES: Readonly<Record<RejectionCode, string>> = {
  type_mismatch: 'REJECTION_CODE_TYPE_MISMATCH',
  missing_column: 'REJECTION_CODE_MISSING_COLUMN',
  unknown_column: 'REJECTION_CODE_UNKNOWN_COLUMN',
  out_of_range: 'REJECTION_CODE_OUT_OF_RANGE',
  invalid_time: 'REJECTION_CODE_INVALID_TIME',
  invalid_id: 'REJECTION_CODE_INVALID_ID',
  invalid_value: 'REJECTION_CODE_INVALID_VALUE',
  invalid_name: 'REJECTION_CODE_INVALID_NAME',
  invalid_json: 'REJECTION_CODE_INVALID_JSON',
  not_an_object: 'REJECTION_CODE_NOT_AN_OBJECT',
  too_large: 'REJECTION_CODE_TOO_LARGE',
};

const rejectionMessage = ({ row, code, column = '', message }: RowRejection): object => {
  return { row, code: CODES[code], column, message };
};

export function writeResponse(decoded: DecodedRequest, receipt: WriteReceipt): object {
  const { acceptedRows, parkedRows, rejectedRows, rejections } = settled(decoded, receipt);
  return {
    batchId: receipt.batch,
    acceptedRows,
    rejectedRows,
    rejections: rejections.map(rejectionMessage),
    deadLetterRows: parkedRows,
  };
}

export const dryRunResponse = (run: DryRun): object => ({
  acceptedRows: run.acceptedRows,
  deadLetterRows: run.parkedRows,
  rejectedRows: run.rejectedRows,
  rejections: run.rejections.map(rejectionMessage),
  dryRun: dryRunMessage(run),
});

/** A request of which no row was accepted. */
export class RefusedRows extends IngestError {
  constructor(
    readonly decoded: DecodedRequest,
    readonly table: string,
  ) {
    const [first] = decoded.rejections;
    const column = first?.column === undefined ? '' : `, column ${first.column}`;
    const why = first === undefined ? '' : `; row ${first.row}${column}: ${first.message}`;
    super('invalid_argument', `no row was accepted, ${decoded.rejectedRows} were refused${why}`);
  }
}

/** What `WriteError` says. */
export function writeError(error: IngestError): object {
  const waitMs = retryAfterMs(error);
  return {
    code: STATUS[error.code].grpc,
    message: statusMessage(error),
    ...(waitMs === undefined ? {} : { retryDelay: { seconds: Math.floor(waitMs / 1000), nanos: (waitMs % 1000) * 1_000_000 } }),
    ...(error instanceof RefusedRows
      ? { rejectedRows: error.decoded.rejectedRows, rejections: error.decoded.rejections.map(rejectionMessage) }
      : {}),
  };
}

/** The details of a status for refused rows, as many of them as fit. */
export function refusalDetails({ decoded }: RefusedRows): StatusDetails {
  const listed = fitting(decoded.rejections, ({ column = '', message }) => Buffer.byteLength(column + message) + 20);
  const { responseSerialize } = method('Write');
  const value = responseSerialize({ rejectedRows: decoded.rejectedRows, rejections: listed.map(rejectionMessage) });
  return { violations: rowViolations(decoded.rejections), own: { typeUrl: WRITE_RESPONSE_URL, value } };
}
