import * as fc from 'fast-check';
import {
  readAny,
  readBasicAuth,
  readDescriptor,
  readFlightData,
  writeFlightData,
  writeFlightInfo,
} from '../../../../src/adapters/flight/messages';
import { readSqlInfo, readStatementIngest } from '../../../../src/adapters/flight/sql-messages';
import { IngestError } from '../../../../src/core/errors';
import { flightMessage, flightObject, sqlAny } from '../../../support/flight-client';

const bytes = fc.uint8Array({ maxLength: 200 }).map((value) => Buffer.from(value));
const data = fc.record({
  flightDescriptor: fc.option(
    fc.record({ type: fc.constantFrom('PATH', 'CMD'), path: fc.array(fc.string({ unit: 'grapheme' })), cmd: bytes }),
    {
      nil: undefined,
    },
  ),
  dataHeader: bytes,
  appMetadata: bytes,
  dataBody: bytes,
});
const refusal = (read: () => unknown): unknown => {
  try {
    return read();
  } catch (error) {
    return error;
  }
};

const codeOf = (error: Error): string => (error instanceof IngestError ? error.code : (error.stack ?? ''));

test('FL3: FlightData as protobufjs writes it is read, its parts as views of the message', () => {
  fc.assert(
    fc.property(data, (value) => {
      const message = flightMessage('FlightData', value);
      const read = readFlightData(message);
      const { flightDescriptor: wanted } = value;
      expect([read.header, read.appMetadata, read.body]).toEqual([value.dataHeader, value.appMetadata, value.dataBody]);
      expect(read.descriptor?.path).toEqual(wanted?.path);
      expect(read.descriptor?.type).toBe(wanted?.type.toLowerCase());
      expect(read.body.length === 0 || read.body.buffer === message.buffer).toBe(true);
    }),
  );
});

test('what we write is read by protobufjs', () => {
  fc.assert(
    fc.property(bytes, bytes, (header, body) => {
      expect(flightObject('FlightData', writeFlightData(header, body))).toMatchObject({ dataHeader: header, dataBody: body });
      const info = flightObject(
        'FlightInfo',
        writeFlightInfo({ schema: header, descriptor: Buffer.from('0801', 'hex'), ticket: body }),
      );
      expect(info).toMatchObject({ schema: header, endpoint: [{ ticket: { ticket: body } }], totalRecords: -1 });
    }),
  );
});

test('a message that is cut or changed anywhere is read or refused as invalid', () => {
  const readers = [readFlightData, readDescriptor, readStatementIngest, readSqlInfo];
  fc.assert(
    fc.property(data, fc.nat(), fc.nat(255), fc.boolean(), (value, at, byte, isCut) => {
      const message = flightMessage('FlightData', value);
      const broken = Buffer.from(isCut ? message.subarray(0, at % (message.length + 1)) : message);
      if (!isCut && broken.length > 0) broken[at % broken.length] = byte;
      const codes = readers
        .map((read) => refusal(() => read(broken)))
        .map((result) => (result instanceof Error ? codeOf(result) : 'read'));
      expect(codes.filter((code) => code !== 'read' && code !== 'invalid_argument')).toEqual([]);
    }),
  );
});

test.each([
  ['field number 0', '0000'],
  ['a length beyond the end', '12ff01'],
  ['an endless varint', 'ffffffffffffffffffffff'],
  ['a known field of another wire type', '1001'],
  ['an end of a group that was not begun', '0c'],
])('FlightData with %s is refused', (_what, hex) => {
  expect(refusal(() => readFlightData(Buffer.from(hex, 'hex')))).toBeInstanceOf(IngestError);
});

test('a path that is not UTF-8 is refused', () => {
  expect(refusal(() => readDescriptor(Buffer.from('08011a02c328', 'hex')))).toMatchObject({ code: 'invalid_argument' });
});

test('SqlInfo codes are read packed and one by one', () => {
  expect(readSqlInfo(flightMessage('sql.CommandGetSqlInfo', { info: [8, 300] }))).toEqual([8, 300]);
  expect(readSqlInfo(Buffer.from('080808ac02', 'hex'))).toEqual([8, 300]);
});

test('FL2: bytes that are no Any are no Flight SQL command', () => {
  expect(readAny(sqlAny('CommandGetCatalogs'))).toMatchObject({
    typeUrl: 'type.googleapis.com/arrow.flight.protocol.sql.CommandGetCatalogs',
  });
  for (const text of ['SELECT 1', '', '\n\u0001']) expect(readAny(Buffer.from(text))).toBeUndefined();
});

test('FL10: the fields of BasicAuth are 2 and 3, and another payload is none', () => {
  expect(readBasicAuth(Buffer.from('1201611a0162', 'hex'))).toEqual({ user: 'a', password: 'b' });
  for (const payload of [Buffer.alloc(0), Buffer.from('0a0161', 'hex'), Buffer.from('token')])
    expect(readBasicAuth(payload)).toBeUndefined();
});
