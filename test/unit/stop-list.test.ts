import { cutWhenLate, StopList } from '../../src/stop-list';
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

test('what stops in time is not cut, what does not is cut and then waited for, and its error is thrown', async () => {
  const order: string[] = [];
  await cutWhenLate(Promise.resolve(), 10_000, async () => order.push('cut in vain'));
  expect(order).toEqual([]);
  let end: () => void = () => undefined;
  const stuck = new Promise<void>((resolve) => {
    end = resolve;
  });
  await cutWhenLate(
    stuck.then(() => order.push('ended')),
    1,
    async () => {
      order.push('cut');
      end();
    },
  );
  expect(order).toEqual(['cut', 'ended']);
  await expect(cutWhenLate(Promise.reject(new Error('broken')), 10_000, async () => undefined)).rejects.toThrow('broken');
});
