import { StopList } from '../../src/stop-list';
import { silentLogger } from '../../src/telemetry';

test('parts are stopped from the last to the first, also behind one that fails, and its error is thrown at the end', async () => {
  const order: string[] = [];
  const list = new StopList();
  list.add('first', async () => {
    order.push('first');
  });
  list.add('second', () => Promise.reject(new Error('broken')));
  list.add('third', async () => {
    order.push('third');
  });
  await expect(list.run(1_000, silentLogger())).rejects.toThrow('broken');
  expect(order).toEqual(['third', 'first']);
});

test('a part that never stops is left behind and named, the others are stopped', async () => {
  const order: string[] = [];
  const said: unknown[] = [];
  const logger = silentLogger();
  logger.error = (fields: object) => said.push(fields);
  const list = new StopList();
  list.add('log', async () => {
    order.push('log');
  });
  list.add('stuck', () => new Promise(() => undefined));
  await list.run(10, logger);
  expect(order).toEqual(['log']);
  expect(said).toEqual([{ part: 'stuck' }]);
});
