import { SinkError } from '../../../../src/core/sink';
import { isSchemaChange, retryError, sinkError } from '../../../../src/sinks/postgres/errors';

const pgError = (code: string, fields: object = {}): Error => Object.assign(new Error('said by the server'), { code }, fields);

test.each([
  ['22P02', 'content'],
  ['22P05', 'content'],
  ['22021', 'content'],
  ['22003', 'content'],
  ['23502', 'content'],
  ['54000', 'content'],
  ['54001', 'content'],
  ['22P03', 'broken'],
  ['22P04', 'broken'],
  ['08006', 'retry'],
  ['25006', 'retry'],
  ['28P01', 'retry'],
  ['40001', 'retry'],
  ['40P01', 'retry'],
  ['42501', 'retry'],
  ['42P01', 'retry'],
  ['53100', 'retry'],
  ['53300', 'retry'],
  ['57014', 'retry'],
  ['57P01', 'retry'],
  ['XX001', 'retry'],
  ['', 'retry'],
])('SQLSTATE %s means %s', (sqlState, failure) => {
  expect(sinkError(pgError(sqlState, { constraint: 'any' }), 'x').failure).toBe(failure);
});

test('a row without a partition is not the fault of the row, a violated constraint is', () => {
  expect(sinkError(pgError('23514'), 'x')).toMatchObject({ failure: 'retry' });
  expect(sinkError(pgError('23514', { constraint: 'positive' }), 'x')).toMatchObject({ failure: 'content' });
  expect(isSchemaChange(pgError('23514'))).toBe(true);
});

test('errors of the network are a retry without a code of the store', () => {
  const error = sinkError(Object.assign(new Error(''), { code: 'ECONNREFUSED' }), 'writing to orders');
  expect(error).toMatchObject({ failure: 'retry', storeCode: '', message: 'writing to orders: ECONNREFUSED' });
});

test('what goes wrong before rows are sent is never the fault of rows', () => {
  expect(retryError(pgError('54011'), 'preparing')).toMatchObject({ failure: 'retry', storeCode: '54011' });
  const alarm = new SinkError('broken', 'as it is');
  expect(retryError(alarm, 'preparing')).toBe(alarm);
});

test.each([
  ['42501', 'table'],
  ['42P01', 'table'],
  ['P0001', 'table'],
  ['25006', 'store'],
  ['28P01', 'store'],
  ['57P01', 'store'],
  ['53300', 'store'],
  ['53100', 'unknown'],
  ['40P01', 'unknown'],
  ['', 'unknown'],
  ['ZZ999', 'unknown'],
])('SQLSTATE "%s" is about one table, the store, or does not tell: %s', (sqlState, scope) => {
  expect(sinkError(pgError(sqlState), 'x').scope).toBe(scope);
});
