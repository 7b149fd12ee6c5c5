import { Slots } from '../../../../src/embedded/clickhouse/slots';

const never = new AbortController().signal;

it('gives slots in order and refuses when too many wait', async () => {
  const slots = new Slots(1, 2);
  const order: string[] = [];
  const first = await slots.take(never);
  const second = slots.take(never).then((release) => {
    order.push('second');
    release();
  });
  const third = slots.take(never).then((release) => {
    order.push('third');
    release();
  });
  await expect(slots.take(never)).rejects.toMatchObject({ code: 202 });
  first();
  first();
  await Promise.all([second, third]);
  expect(order).toEqual(['second', 'third']);
  (await slots.take(never))();
});

it('a waiting one that is killed frees its place and costs no slot', async () => {
  const slots = new Slots(1, 1);
  const release = await slots.take(never);
  const kill = new AbortController();
  const waiting = slots.take(kill.signal);
  kill.abort();
  await expect(waiting).rejects.toMatchObject({ code: 394 });
  const next = slots.take(never);
  release();
  (await next)();
  await expect(slots.take(kill.signal)).rejects.toMatchObject({ code: 394 });
});
