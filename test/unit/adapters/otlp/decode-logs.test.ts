import { ARRIVAL_NS, type Decoded, decodeRows, delimited, logRequest, requestOf } from '../../../support/otlp-decode';
import { plainRows } from '../../../support/plain-rows';

const TRACE_ID = Uint8Array.from({ length: 16 }, (_, i) => i + 0xa0);
const SPAN_ID = Uint8Array.from({ length: 8 }, (_, i) => i);

const decode = (records: readonly object[], resource?: object, scope?: object): Decoded =>
  decodeRows('logs', requestOf('logs', records, resource, scope));
const rowOf = (record: object, resource?: object): Record<string, unknown> => decode([record], resource).rows.logs_events[0];
const attribute = (key: string, value: object | undefined): object => (value === undefined ? { key } : { key, value });

/** A KeyValue of a resource, by hand. */
const textAttribute = (key: string, value: string): Uint8Array =>
  delimited(1, delimited(1, Buffer.from(key)), delimited(2, delimited(1, Buffer.from(value))));
/** A body that is an array of small integers, by hand. */
const intArray = (...values: number[]): Uint8Array => delimited(5, delimited(5, ...values.map((v) => delimited(1, [0x18, v]))));
/** app and host of a row below a resource. */
const appAndHost = (attributes: readonly [string, object][]): unknown[] => {
  const row = rowOf({}, { attributes: attributes.map(([key, value]) => attribute(key, value)) });
  return [row.app, row.host];
};

test('a log record keeps every field', () => {
  const resource = {
    attributes: [attribute('service.name', { stringValue: 'shop' }), attribute('host.name', { stringValue: 'h1' })],
  };
  const scope = { name: 'lib', version: '1.2', attributes: [attribute('k', { intValue: '5' })], droppedAttributesCount: 2 };
  const record = {
    timeUnixNano: '1700000000123456789',
    observedTimeUnixNano: '1700000000123456790',
    severityNumber: 13,
    severityText: 'warning',
    body: { stringValue: 'hello' },
    attributes: [attribute('a', { stringValue: 'b' })],
    droppedAttributesCount: 3,
    flags: 0xffffff01,
    traceId: TRACE_ID,
    spanId: SPAN_ID,
    eventName: 'login',
  };
  expect(decode([record], resource, scope).rows.logs_events).toEqual([
    {
      timestamp: 1700000000123456789n,
      observed_timestamp: 1700000000123456790n,
      app: 'shop',
      host: 'h1',
      trace_id: 'a0a1a2a3a4a5a6a7a8a9aaabacadaeaf',
      span_id: '0001020304050607',
      message: 'hello',
      body_type: 'string',
      labels: [['a', 1, 'b']],
      severity_number: 13,
      severity_text: 'warning',
      level: 'WARN',
      flags: 0xffffff01,
      event_name: 'login',
      dropped_attributes_count: 3,
      resource: [
        ['service.name', 1, 'shop'],
        ['host.name', 1, 'h1'],
      ],
      scope: [
        ['name', 1, 'lib'],
        ['version', 1, '1.2'],
        ['attributes', 6, '{"k":5}'],
        ['dropped_attributes_count', 3, '2'],
      ],
    },
  ]);
});

test('OH5: an empty body, an empty resource and an empty scope give no batch', () => {
  for (const body of [new Uint8Array(0), delimited(1), delimited(1, delimited(2)), delimited(1, delimited(1), delimited(2))]) {
    expect(decodeRows('logs', body).request).toEqual({ batches: [], acceptedRows: 0, rejectedRows: 0, rejections: [] });
  }
});

test('the timestamp is the time, else the observed time, else the arrival', () => {
  const times = decode([{ timeUnixNano: '7', observedTimeUnixNano: '8' }, { observedTimeUnixNano: '8' }, {}]).rows.logs_events;
  expect(times.map((row) => [row.timestamp, row.observed_timestamp])).toEqual([
    [7n, 8n],
    [8n, 8n],
    [ARRIVAL_NS, undefined],
  ]);
});

test('the level is that of the severity number, without one the severity text', () => {
  const level = (severityNumber: number, severityText = ''): unknown => rowOf({ severityNumber, severityText }).level;
  expect([1, 4, 5, 9, 13, 17, 20, 21, 24].map((n) => level(n, 'x'))).toEqual([
    'TRACE',
    'TRACE',
    'DEBUG',
    'INFO',
    'WARN',
    'ERROR',
    'ERROR',
    'FATAL',
    'FATAL',
  ]);
  expect([level(0, 'notice'), level(25, 'x'), level(-1, 'y'), level(0)]).toEqual(['notice', 'x', 'y', undefined]);
  expect(rowOf({ severityNumber: -1 }).severity_number).toBe(-1);
});

test('OD2: a log record with an invalid id is kept without it', () => {
  const ids = [new Uint8Array(0), new Uint8Array(16), TRACE_ID.subarray(1), new Uint8Array(17).fill(1)].map((traceId) => ({
    traceId,
  }));
  const { rows, request } = decode([...ids, { spanId: new Uint8Array(8) }, { spanId: TRACE_ID }]);
  expect(request).toMatchObject({ acceptedRows: 6, rejectedRows: 0 });
  for (const row of rows.logs_events) expect(row).not.toHaveProperty('trace_id');
  for (const row of rows.logs_events) expect(row).not.toHaveProperty('span_id');
});

test('a time above int64 rejects its row and no other', () => {
  const late = String(2n ** 63n);
  const { rows, request } = decode([
    { timeUnixNano: late, body: { stringValue: 'x' }, attributes: [attribute('dropped', { stringValue: 'x' })] },
    { timeUnixNano: String(2n ** 63n - 1n), attributes: [attribute('kept', { stringValue: 'y' })] },
    { observedTimeUnixNano: late },
  ]);
  expect(rows.logs_events.map((row) => [row.timestamp, row.labels, row.message])).toEqual([
    [2n ** 63n - 1n, [['kept', 1, 'y']], undefined],
  ]);
  expect(request.rejections).toMatchObject([
    { row: 0, code: 'out_of_range', column: 'timestamp' },
    { row: 2, code: 'out_of_range', column: 'observed_timestamp' },
  ]);
});

test('every kind of value has its kind and its exact text', () => {
  const values = [
    undefined,
    {},
    { stringValue: '' },
    { boolValue: false },
    { boolValue: true },
    { intValue: '-9223372036854775808' },
    { intValue: '9223372036854775807' },
    { doubleValue: 1 },
    { doubleValue: -0 },
    { doubleValue: 1e21 },
    { doubleValue: Number.NaN },
    { doubleValue: -Infinity },
    { bytesValue: Uint8Array.of(0, 255, 254, 1) },
    { arrayValue: {} },
    { kvlistValue: {} },
  ];
  const nested = [
    ...values.slice(1).map((value) => ({ ...value })),
    { kvlistValue: { values: [attribute('a', { stringValue: '"\\\n\u0001\u0000é' }), attribute('none', undefined)] } },
  ];
  const labels = [...values, { arrayValue: { values: nested } }].map((value, i) => attribute(`k${i}`, value));
  expect(rowOf({ attributes: labels }).labels).toEqual([
    ['k0', 0, ''],
    ['k1', 0, ''],
    ['k2', 1, ''],
    ['k3', 2, 'false'],
    ['k4', 2, 'true'],
    ['k5', 3, '-9223372036854775808'],
    ['k6', 3, '9223372036854775807'],
    ['k7', 4, '1.0'],
    ['k8', 4, '-0.0'],
    ['k9', 4, '1e+21'],
    ['k10', 4, 'NaN'],
    ['k11', 4, '-Infinity'],
    ['k12', 7, 'AP/+AQ=='],
    ['k13', 5, '[]'],
    ['k14', 6, '{}'],
    [
      'k15',
      5,
      '[null,"",false,true,-9223372036854775808,9223372036854775807,1.0,-0.0,1e+21,"NaN","-Infinity","AP/+AQ==",[],{},' +
        '{"a":"\\"\\\\\\n\\u0001\\u0000é","none":null}]',
    ],
  ]);
});

test('the body is a string as it is, anything else as its text, and nothing when it is empty or missing', () => {
  const bodies = [
    { stringValue: '' },
    { intValue: 5 },
    { kvlistValue: { values: [attribute('a', { boolValue: true })] } },
    { bytesValue: Uint8Array.of(1) },
    {},
  ];
  const rows = decode([...bodies.map((body) => ({ body })), {}]).rows.logs_events;
  expect(rows.map((row) => [row.body_type, row.message])).toEqual([
    ['string', ''],
    ['int', '5'],
    ['kvlist', '{"a":true}'],
    ['bytes', 'AQ=='],
    ['empty', undefined],
    [undefined, undefined],
  ]);
});

test('of a repeated key the last value counts, in attributes and in nested lists', () => {
  const twice = [attribute('a', { intValue: 1 }), attribute('b', { intValue: 2 }), attribute('a', { stringValue: 'last' })];
  const many = Array.from({ length: 40 }, (_, i) => attribute(`k${i % 20}`, { intValue: i }));
  const row = rowOf({ attributes: twice, body: { kvlistValue: { values: [...twice, ...many] } } });
  expect(row.labels).toEqual([
    ['a', 1, 'last'],
    ['b', 3, '2'],
  ]);
  const expected = Object.fromEntries([['b', 2], ['a', 'last'], ...Array.from({ length: 20 }, (_, i) => [`k${i}`, i + 20])]);
  expect(JSON.parse(row.message as string)).toEqual(expected);
  expect(row.message).toHaveLength(JSON.stringify(expected).length);
});

test('OJ12: __proto__ and constructor are ordinary keys, a NUL is an ordinary character', () => {
  const attributes = ['__proto__', 'constructor', 'a\0b'].map((key) => attribute(key, { stringValue: `${key}\0` }));
  const row = rowOf({ attributes, body: { kvlistValue: { values: attributes } } });
  expect(row.labels).toEqual([
    ['__proto__', 1, '__proto__\0'],
    ['constructor', 1, 'constructor\0'],
    ['a\0b', 1, 'a\0b\0'],
  ]);
  expect(row.message).toBe('{"__proto__":"__proto__\\u0000","constructor":"constructor\\u0000","a\\u0000b":"a\\u0000b\\u0000"}');
  expect(({} as Record<string, unknown>)['__proto__']).toBe(Object.prototype);
});

test('OD4: a string index of the profiles signal counts as no value, a key index as no key', () => {
  const stringIndex = delimited(2, [0x40, 5]);
  const keyIndex = [0x18, 7];
  const body = logRequest(delimited(6, delimited(1, Buffer.from('k')), stringIndex), delimited(6, keyIndex));
  expect(decodeRows('logs', body).rows.logs_events[0].labels).toEqual([
    ['k', 0, ''],
    ['', 0, ''],
  ]);
});

test('OD5: the deprecated field 1000 is skipped', () => {
  const body = delimited(1, delimited(1000, delimited(2, [0xff])), delimited(2, delimited(2)));
  expect(decodeRows('logs', body).request.acceptedRows).toBe(1);
});

test('PB3: a resource after its rows and in pieces, and a scope after its rows, count for them', () => {
  const scopeLogs = delimited(2, delimited(2), delimited(1, delimited(1, Buffer.from('lib'))), delimited(2));
  const body = delimited(
    1,
    delimited(1, textAttribute('service.name', 'shop')),
    scopeLogs,
    delimited(1, textAttribute('k8s.node.name', 'n1')),
  );
  const rows = decodeRows('logs', body).rows.logs_events;
  expect(rows.map((row) => [row.app, row.host, row.scope])).toEqual([
    ['shop', 'n1', [['name', 1, 'lib']]],
    ['shop', 'n1', [['name', 1, 'lib']]],
  ]);
});

test('PB3: pieces of a body merge, another member replaces', () => {
  const string = delimited(5, delimited(1, Buffer.from('s')));
  const messages = [
    [intArray(1), intArray(2, 3)],
    [intArray(1), string],
    [intArray(1), string, intArray(2)],
  ].map((fields) => decodeRows('logs', logRequest(...fields)).rows.logs_events[0].message);
  expect(messages).toEqual(['[1,2,3]', 's', '[2]']);
});

test('host is host.name, else k8s.node.name; empty names are no names', () => {
  const node: [string, object] = ['k8s.node.name', { stringValue: 'n' }];
  expect(appAndHost([node, ['host.name', { stringValue: 'h' }]])).toEqual([undefined, 'h']);
  expect(appAndHost([node, ['host.name', { stringValue: '' }]])).toEqual([undefined, 'n']);
  expect(appAndHost([['service.name', { stringValue: '' }]])).toEqual([undefined, undefined]);
  expect(appAndHost([['service.name', { intValue: 5 }]])).toEqual(['5', undefined]);
});

test('what a resource says besides its attributes stands in the scope column', () => {
  const resource = {
    droppedAttributesCount: 4294967295,
    entityRefs: [{ schemaUrl: 'u', type: 'service', idKeys: ['service.name', 'é'], descriptionKeys: ['d'] }, { type: 'host' }],
  };
  const [row] = decode([{}], resource).rows.logs_events;
  expect(row.scope).toEqual([
    [
      'resource',
      6,
      '{"dropped_attributes_count":4294967295,"entity_refs":[{"schema_url":"u","type":"service",' +
        '"id_keys":["service.name","é"],"description_keys":["d"]},{"type":"host"}]}',
    ],
  ]);
});

test('blocks in a row that are equal share one dictionary value', () => {
  const block = delimited(1, delimited(1, delimited(1, delimited(1, Buffer.from('k')))), delimited(2, delimited(2)));
  const { request } = decodeRows('logs', Buffer.concat([block, block, block]));
  const resource = request.batches[0].batch.getChild('resource')!;
  expect([resource.length, resource.data[0].dictionary?.length]).toEqual([3, 1]);
});

test('a decoder is used again: later requests leave the batches of earlier ones alone, and an error leaves nothing behind', () => {
  const first = decodeRows('logs', requestOf('logs', [{ body: { stringValue: 'one' }, eventName: 'e', traceId: TRACE_ID }]));
  const before = structuredClone(first.rows);
  expect(() => decodeRows('logs', Buffer.concat([requestOf('logs', [{ eventName: 'lost' }]), Uint8Array.of(0x0a)]))).toThrow(
    'field ends',
  );
  const second = decodeRows('logs', requestOf('logs', [{ body: { stringValue: 'two' }, attributes: [attribute('k', {})] }, {}]));
  expect(second.rows.logs_events.map((row) => [row.message, row.event_name, row.trace_id, row.labels])).toEqual([
    ['two', undefined, undefined, [['k', 0, '']]],
    [undefined, undefined, undefined, []],
  ]);
  expect(plainRows(first.request.batches[0].batch)).toEqual(before.logs_events);
});
