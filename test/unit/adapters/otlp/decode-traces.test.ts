import { type Decoded, decodeRows, delimited, requestOf } from '../../../support/otlp-decode';

const TRACE_ID = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
const SPAN_ID = Uint8Array.from({ length: 8 }, (_, i) => i + 0xf8);
const PARENT_ID = Uint8Array.from({ length: 8 }, (_, i) => i + 1);
const SPAN = { traceId: TRACE_ID, spanId: SPAN_ID, name: 'GET /', startTimeUnixNano: '1000', endTimeUnixNano: '3500' };

const decode = (spans: readonly object[]): Decoded => decodeRows('traces', requestOf('traces', spans));
const rowOf = (span: object): Record<string, unknown> => decode([{ ...SPAN, ...span }]).rows.traces_spans[0];
const attribute = (key: string, value: object): object => ({ key, value });

test('a span keeps every field', () => {
  const row = rowOf({
    traceState: 'a=b',
    parentSpanId: PARENT_ID,
    flags: 0x301,
    kind: 3,
    attributes: [attribute('http.status', { intValue: 200 })],
    droppedAttributesCount: 1,
    events: [
      { timeUnixNano: '1700000000123456789', name: 'e"1', attributes: [attribute('n', { doubleValue: 0.5 })] },
      { droppedAttributesCount: 7 },
    ],
    droppedEventsCount: 2,
    links: [{ traceId: TRACE_ID, spanId: SPAN_ID, traceState: 's', attributes: [attribute('l', {})], flags: 4294967295 }, {}],
    droppedLinksCount: 3,
    status: { code: 2, message: 'boom' },
  });
  expect(row).toEqual({
    start_time: 1000n,
    end_time: 3500n,
    duration_ns: 2500n,
    trace_id: '0102030405060708090a0b0c0d0e0f10',
    span_id: 'f8f9fafbfcfdfeff',
    parent_span_id: '0102030405060708',
    trace_state: 'a=b',
    flags: 0x301,
    name: 'GET /',
    kind: 'client',
    status_code: 'error',
    status_message: 'boom',
    attributes: [['http.status', 3, '200']],
    dropped_attributes_count: 1,
    events:
      '[{"time_unix_nano":"1700000000123456789","name":"e\\"1","attributes":{"n":0.5}},' +
      '{"time_unix_nano":"0","name":"","attributes":{},"dropped_attributes_count":7}]',
    dropped_events_count: 2,
    links:
      '[{"trace_id":"0102030405060708090a0b0c0d0e0f10","span_id":"f8f9fafbfcfdfeff","trace_state":"s","attributes":{"l":null},' +
      '"flags":4294967295},{"trace_id":"","span_id":"","attributes":{}}]',
    dropped_links_count: 3,
  });
});

test('OD2: a span with an invalid id is rejected by itself, the others stay', () => {
  const bad = [
    { traceId: new Uint8Array(0) },
    { traceId: new Uint8Array(16) },
    { traceId: TRACE_ID.subarray(1) },
    { spanId: new Uint8Array(8) },
    { spanId: TRACE_ID },
    { parentSpanId: TRACE_ID },
  ].map((ids) => ({ ...SPAN, ...ids, attributes: [attribute('x', { stringValue: 'y' })], events: [{ name: 'e' }], links: [{}] }));
  const { rows, request } = decode([...bad, { ...SPAN, name: 'good' }]);
  expect(rows.traces_spans.map((row) => [row.name, row.attributes, row.events, row.links])).toEqual([
    ['good', [], undefined, undefined],
  ]);
  expect(request).toMatchObject({ acceptedRows: 1, rejectedRows: 6 });
  expect(request.rejections.map(({ row, code, column }) => [row, code, column])).toEqual([
    [0, 'invalid_id', 'trace_id'],
    [1, 'invalid_id', 'trace_id'],
    [2, 'invalid_id', 'trace_id'],
    [3, 'invalid_id', 'span_id'],
    [4, 'invalid_id', 'span_id'],
    [5, 'invalid_id', 'parent_span_id'],
  ]);
});

test('an empty or zero parent is no parent', () => {
  expect(rowOf({})).not.toHaveProperty('parent_span_id');
  expect(rowOf({ parentSpanId: new Uint8Array(8) })).not.toHaveProperty('parent_span_id');
});

test('a span needs a start time; without an end it has no duration; a clock that went back gives a negative one', () => {
  const { request } = decode([{ ...SPAN, startTimeUnixNano: '0' }]);
  expect(request.rejections).toMatchObject([{ row: 0, code: 'invalid_time', column: 'start_time' }]);
  const open = rowOf({ endTimeUnixNano: '0' });
  expect([open.end_time, open.duration_ns]).toEqual([undefined, undefined]);
  expect(rowOf({ startTimeUnixNano: '4294967296', endTimeUnixNano: '1' }).duration_ns).toBe(-4294967295n);
});

test('a time above int64 rejects its span, also in an event', () => {
  const late = String(2n ** 63n);
  const { request } = decode([
    { ...SPAN, startTimeUnixNano: late },
    { ...SPAN, endTimeUnixNano: late },
    { ...SPAN, events: [{ timeUnixNano: late }] },
  ]);
  expect(request.rejections.map(({ code, column }) => [code, column])).toEqual([
    ['out_of_range', 'start_time'],
    ['out_of_range', 'end_time'],
    ['out_of_range', 'events'],
  ]);
});

test('OJ3: unknown enum numbers are kept as digits', () => {
  const row = rowOf({ kind: 17, status: { code: -3 } });
  expect([row.kind, row.status_code]).toEqual(['17', '-3']);
  const absent = rowOf({});
  expect([absent.kind, absent.status_code, absent.status_message]).toEqual(['unspecified', 'unset', undefined]);
});

test('PB3: a status in pieces merges', () => {
  const span = Buffer.concat([
    delimited(1, TRACE_ID),
    delimited(2, SPAN_ID),
    Uint8Array.of(0x39, 1, 0, 0, 0, 0, 0, 0, 0),
    delimited(15, delimited(2, Buffer.from('m'))),
    delimited(15, [0x18, 2]),
  ]);
  const [row] = decodeRows('traces', delimited(1, delimited(2, delimited(2, span)))).rows.traces_spans;
  expect([row.status_code, row.status_message]).toEqual(['error', 'm']);
});

test('only the first hundred rejections are listed, all are counted', () => {
  const { request } = decode(Array.from({ length: 150 }, () => ({})));
  expect([request.rejections.length, request.rejectedRows, request.batches]).toEqual([100, 150, []]);
});
