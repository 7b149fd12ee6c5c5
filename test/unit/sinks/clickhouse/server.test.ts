import { insertSettings, parseVersion } from '../../../../src/sinks/clickhouse/server';

describe('what a ClickHouse server can do', () => {
  it('reads the version', () => {
    expect(parseVersion('26.7.2.1')).toBe(2607);
    expect(parseVersion('24.4.1.2088')).toBe(2404);
    expect(parseVersion('24.12.3.47-altinitystable')).toBe(2412);
  });

  it.each(['24.3.1.1', '21.8', 'unknown', ''])('refuses version "%s"', (text) => {
    expect(() => parseVersion(text)).toThrow(RangeError);
  });

  it('sends a setting only to servers that know it', () => {
    expect(insertSettings(2602, 't')).toMatchObject({ deduplicate_insert: 'enable', insert_deduplication_token: 't' });
    expect(insertSettings(2601, 't')).not.toHaveProperty('deduplicate_insert');
  });
});
