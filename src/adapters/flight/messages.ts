/**
 * Messages of `proto/arrow/flight/protocol/Flight.proto`, read and written by hand: bodies are never copied when they are read,
 * and once when they are written.
 */
import { Writer } from 'protobufjs/minimal';
import { malformed, readFields } from './wire';

export interface FlightDescriptor {
  readonly type: 'unknown' | 'path' | 'cmd';
  readonly cmd: Buffer;
  readonly path: readonly string[];
  /** As it came, to be given back. */
  readonly bytes: Buffer;
}

/** One message of DoPut, DoExchange or DoGet; views into the gRPC message. */
export interface FlightData {
  readonly descriptor: FlightDescriptor | undefined;
  readonly header: Buffer;
  readonly appMetadata: Buffer;
  readonly body: Buffer;
}

const EMPTY: Buffer = Buffer.alloc(0);

/** Fields in any order, the body may be missing (FL3). Throws IngestError `invalid_argument`. */
export function readFlightData(message: Buffer): FlightData {
  let descriptor: FlightDescriptor | undefined;
  let header = EMPTY;
  let appMetadata = EMPTY;
  let body = EMPTY;
  readFields(message, 'FlightData', (field) => {
    if (field.number === 1) descriptor = readDescriptor(field.bytes());
    else if (field.number === 2) header = field.bytes();
    else if (field.number === 3) appMetadata = field.bytes();
    else if (field.number === 1000) body = field.bytes();
  });
  return { descriptor, header, appMetadata, body };
}

const TYPES = ['unknown', 'path', 'cmd'] as const;

export function readDescriptor(message: Buffer): FlightDescriptor {
  let type: FlightDescriptor['type'] = 'unknown';
  let cmd = EMPTY;
  const path: string[] = [];
  readFields(message, 'FlightDescriptor', (field) => {
    if (field.number === 1) type = TYPES[field.uint32()] ?? 'unknown';
    else if (field.number === 2) cmd = field.bytes();
    else if (field.number === 3) path.push(field.text());
  });
  return { type, cmd, path, bytes: message };
}

/** The only field of Ticket, Criteria and many others: bytes under number 1. */
export function readBytes(message: Buffer, name: string): Buffer {
  let value = EMPTY;
  readFields(message, name, (field) => {
    if (field.number === 1) value = field.bytes();
  });
  return value;
}

export interface Action {
  readonly type: string;
  readonly body: Buffer;
}

export function readAction(message: Buffer): Action {
  let type = '';
  let body = EMPTY;
  readFields(message, 'Action', (field) => {
    if (field.number === 1) type = field.text();
    else if (field.number === 2) body = field.bytes();
  });
  return { type, body };
}

/** The payload of a HandshakeRequest. */
export function readHandshake(message: Buffer): Buffer {
  let payload = EMPTY;
  readFields(message, 'HandshakeRequest', (field) => {
    if (field.number === 2) payload = field.bytes();
  });
  return payload;
}

/** User and password of a BasicAuth message (FL10); undefined when the payload is something else. */
export function readBasicAuth(payload: Buffer): { user: string; password: string } | undefined {
  const found: { user?: string; password?: string } = {};
  try {
    readFields(payload, 'BasicAuth', (field) => {
      if (field.number === 2) found.user = field.text();
      else if (field.number === 3) found.password = field.text();
    });
  } catch {
    return undefined;
  }
  return found.user === undefined ? undefined : { user: found.user, password: found.password ?? '' };
}

/** A google.protobuf.Any; undefined when the bytes are none. */
export function readAny(message: Buffer): { typeUrl: string; value: Buffer } | undefined {
  let typeUrl = '';
  let value = EMPTY;
  try {
    readFields(message, 'Any', (field) => {
      if (field.number === 1) typeUrl = field.text();
      else if (field.number === 2) value = field.bytes();
    });
  } catch {
    return undefined;
  }
  return typeUrl.includes('/') ? { typeUrl, value } : undefined;
}

/** Tags of length-delimited fields. */
const tag = (number: number): number => (number << 3) | 2;

/** A message with bytes under number 1: Result, Ticket, SchemaResult, PutResult. */
export const writeBytes = (value: Uint8Array): Buffer => writeField(1, value);

function writeField(number: number, value: Uint8Array): Buffer {
  if (value.length === 0) return EMPTY;
  return Buffer.from(Writer.create().uint32(tag(number)).bytes(value).finish());
}

export const writeHandshakeResponse = (payload: Uint8Array): Buffer => writeField(2, payload);

export function writeAny(typeUrl: string, value: Uint8Array): Buffer {
  return Buffer.from(Writer.create().uint32(tag(1)).string(typeUrl).uint32(tag(2)).bytes(value).finish());
}

export function writeActionType(type: string, description: string): Buffer {
  return Buffer.from(Writer.create().uint32(tag(1)).string(type).uint32(tag(2)).string(description).finish());
}

/** PutResult of a Flight SQL update: a DoPutUpdateResult in app_metadata (FS3). */
export function writeUpdateResult(rows: number): Buffer {
  return writeBytes(Writer.create().uint32(0x08).int64(rows).finish());
}

/** `FlightData` with a data_body: one copy into the message. */
export function writeFlightData(header: Uint8Array, body: Uint8Array): Buffer {
  const start = Writer.create().uint32(tag(2)).bytes(header).uint32(tag(1000)).uint32(body.length).finish();
  return Buffer.concat([start, body]);
}

/** `FlightData` that is an acknowledgement of DoExchange. */
export const writeMetadataOnly = (appMetadata: Uint8Array): Buffer => writeField(3, appMetadata);

export interface FlightInfo {
  /** An encapsulated IPC message; empty when it is known only when the rows are read. */
  readonly schema: Uint8Array;
  readonly descriptor: Uint8Array;
  readonly ticket: Uint8Array;
}

/**
 * One endpoint without a location: the client reads it over the connection it has (FL12). Numbers of rows and bytes are
 * unknown.
 */
export function writeFlightInfo({ schema, descriptor, ticket }: FlightInfo): Buffer {
  const endpoint = Writer.create().uint32(tag(1)).bytes(writeBytes(ticket)).finish();
  const info = Writer.create();
  if (schema.length > 0) info.uint32(tag(1)).bytes(schema);
  info.uint32(tag(2)).bytes(descriptor).uint32(tag(3)).bytes(endpoint);
  return Buffer.from(info.uint32(0x20).int64(-1).uint32(0x28).int64(-1).finish());
}

/** A descriptor of one path element. */
export function writePathDescriptor(name: string): Buffer {
  return Buffer.from(Writer.create().uint32(0x08).int32(1).uint32(tag(3)).string(name).finish());
}

/** The name of the table that a PATH descriptor means. Throws IngestError `invalid_argument` (FL1, FL2). */
export function pathElement(descriptor: FlightDescriptor): string {
  const [name] = descriptor.path;
  if (descriptor.path.length === 1 && name !== undefined) return name;
  throw malformed('the path of the descriptor must have one element, the name of the table');
}
