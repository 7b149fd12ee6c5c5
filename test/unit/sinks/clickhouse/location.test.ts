import { parseLocation } from '../../../../src/sinks/clickhouse/location';

describe('the ClickHouse URL', () => {
  it.each([
    ['http://ch:8123', { origin: 'http://ch:8123', database: 'default', username: 'default', password: '' }],
    ['http://ch:8123/', { origin: 'http://ch:8123', database: 'default', username: 'default', password: '' }],
    ['https://me:p%40ss@ch/logs', { origin: 'https://ch', database: 'logs', username: 'me', password: 'p@ss' }],
    ['http://ch:1/?database=a%20b&user=u&password=p', { origin: 'http://ch:1', database: 'a b', username: 'u', password: 'p' }],
    ['http://[::1]:8123/db', { origin: 'http://[::1]:8123', database: 'db', username: 'default', password: '' }],
  ])('says in %s where and who', (url, location) => {
    expect(parseLocation(url)).toEqual(location);
  });

  it.each(['ch:8123', 'tcp://ch:9000', 'http://ch/a/b', 'http://ch/?async_insert=1', 'nonsense'])('refuses %s', (url) => {
    expect(() => parseLocation(url)).toThrow(TypeError);
  });
});
