/** Flight against the built command and its stores: what a table's schema is said to be is what DoGet gives, for each column type. */
import { join } from 'node:path';
import { Message } from 'apache-arrow';
import { type ArrowPart, FlightTestClient, flightMessage, flightObject, pathDescriptor } from '../support/flight-client';
import { TestServer, temporaryDirectory } from '../support/server';

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;
let flight: FlightTestClient;

beforeAll(async () => {
  directory = await temporaryDirectory();
  server = await TestServer.start({ dataDir: join(directory.path, 'data') });
  flight = new FlightTestClient(server.grpc);
}, 60_000);

afterAll(async () => {
  flight.close();
  await server.stop();
  await directory.remove();
}, 60_000);

const ROW = {
  time: '2026-01-15T10:00:00.123456789Z',
  string: 'a',
  json: { a: [1] },
  attributes: { a: 1, b: 'x' },
  bool: true,
  int16: 1,
  int32: 2,
  int64: 3,
  uint8: 4,
  uint32: 5,
  uint64: 18_446_744_073_709,
  float32: 0.5,
  float64: 0.25,
  binary: 'aGk=',
  date: '2026-01-15',
  'list<uint64>': [1],
  'list<int64>': [-1],
  'list<float64>': [0.5],
  'list<string>': ['x'],
  [`long ${'ä'.repeat(60)}`]: 'shortened',
};

async function post(path: string, body: object): Promise<void> {
  const response = await server.post(path, JSON.stringify(body), { 'content-type': 'application/json', 'x-ack': 'all' });
  expect([path, response.status, await response.text()]).toEqual([path, 200, expect.any(String)]);
}

async function schemas(table: string): Promise<{ info: Buffer; schema: Buffer; read: Buffer; rows: number }> {
  const descriptor = flightMessage('FlightDescriptor', pathDescriptor(table));
  const { schema: info } = flightObject<{ schema: Buffer }>('FlightInfo', await flight.unary('GetFlightInfo', descriptor));
  const { schema } = flightObject<{ schema: Buffer }>('SchemaResult', await flight.unary('GetSchema', descriptor));
  const messages = await flight.list('DoGet', flightMessage('Ticket', { ticket: Buffer.from(table) }));
  const parts = messages.map((bytes) => flightObject<ArrowPart>('FlightData', bytes));
  const headers = parts.slice(1).map(({ dataHeader }) => Message.decode(dataHeader));
  const rows = headers.reduce((sum, message) => sum + (message.isRecordBatch() ? (message.header()?.length ?? 0) : 0), 0);
  // Encapsulated: a mark, the length, the message.
  return { info: info.subarray(8), schema: schema.subarray(8), read: parts[0].dataHeader, rows };
}

test.each(['hot', 'cold'])(
  'FL12: the schema of a %s table with every column type is that of DoGet, without rows and with',
  async (tier) => {
    const table = `all_${tier}`;
    const columns = Object.keys(ROW).map((name) => {
      const type = name === 'time' ? 'timestamp' : name.startsWith('long') ? 'string' : name;
      return { name, type };
    });
    await post('/schema/register', { table_name: table, tier, columns });
    for (const rows of [0, 2]) {
      if (rows > 0) await post(`/write/${table}`, [ROW, { time: ROW.time }]);
      const found = await schemas(table);
      expect(found.rows).toBe(rows);
      expect(found.info).toEqual(found.read);
      expect(found.schema).toEqual(found.read);
    }
  },
);
