import { SinkError } from '../../../../src/core/sink';
import { codeOf, StoreError, toSinkError } from '../../../../src/sinks/clickhouse/errors';

describe('codes of ClickHouse', () => {
  it.each(['6', '27', '53', '70', '117', '321'])('takes code %s for a fault of the rows', (code) => {
    expect(toSinkError(new StoreError('x', { code }))).toMatchObject({ failure: 'content', storeCode: code });
  });

  it.each(['', '32', '33', '60', '76', '159', '164', '192', '210', '241', '242', '252', '395', '497', '516', '1001', '99999'])(
    'holds and tries again after code "%s"',
    (code) => {
      expect(toSinkError(new StoreError('x', { code }))).toMatchObject({ failure: 'retry', storeCode: code });
    },
  );

  it.each([
    ['60', 'table'],
    ['252', 'table'],
    ['497', 'table'],
    ['164', 'store'],
    ['516', 'store'],
    ['210', 'store'],
    ['241', 'unknown'],
    ['159', 'unknown'],
    ['99999', 'unknown'],
  ])('knows what code %s is about: %s', (code, scope) => {
    expect(toSinkError(new StoreError('x', { code }))).toMatchObject({ scope, fewerInserts: code === '252' });
  });

  it('knows a refusal from silence', () => {
    expect(new StoreError('x', { code: '252' }).refused).toBe(true);
    expect(new StoreError('x').refused).toBe(false);
  });

  it('stops the sink for an error that is not from the store', () => {
    expect(toSinkError(new TypeError('bug'))).toMatchObject({ failure: 'broken' });
    const own = new SinkError('content', 'x');
    expect(toSinkError(own)).toBe(own);
  });

  it.each([
    ['Code: 60. DB::Exception: Table default.nope does not exist. (UNKNOWN_TABLE) (version 26.7.2.1)', '60'],
    ['Code: 252. DB::Exception: Too many parts (300). (TOO_MANY_PARTS)\n', '252'],
    ['a row that says Code: 60. DB::Exception: x', ''],
    ['<html>502 Bad Gateway</html>', ''],
    ['', ''],
  ])('reads the code of %j', (text, code) => {
    expect(codeOf(text)).toBe(code);
  });
});
