import { Breaker, type BreakerState } from '../../../src/tiering/breaker';

interface Scene {
  readonly breaker: Breaker;
  readonly states: BreakerState[];
  pings: number;
  answers: boolean;
}

let stopping: AbortController;
beforeEach(() => {
  stopping = new AbortController();
});
afterEach(() => stopping.abort());

function scene(): Scene {
  const states: BreakerState[] = [];
  const it: Scene = {
    breaker: new Breaker({
      ping: async () => {
        it.pings++;
        if (!it.answers) throw new Error('no answer');
      },
      signal: stopping.signal,
      onChange: (state) => states.push(state),
    }),
    states,
    pings: 0,
    answers: false,
  };
  return it;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

test('three failures in a row open it; a success between them does not let it come to that', async () => {
  const { breaker } = scene();
  for (const failed of [true, true, false, true, true]) {
    await breaker.pass();
    if (failed) breaker.failed();
    else breaker.succeeded();
  }
  expect(breaker.state).toBe('closed');
  await breaker.pass();
  breaker.failed();
  expect(breaker.state).toBe('open');
});

test('while it is open the store is only asked; then one attempt goes ahead, and its success lets all others follow', async () => {
  const it = scene();
  for (let i = 0; i < 3; i++) it.breaker.failed();
  let passed = 0;
  const waiting = [1, 2, 3].map(() => it.breaker.pass().then(() => passed++));
  await until(() => it.pings >= 3);
  expect(passed).toBe(0);
  it.answers = true;
  await until(() => passed === 1);
  expect(it.breaker.state).toBe('half_open');
  it.breaker.succeeded();
  await Promise.all(waiting);
  expect(it.states).toEqual(['open', 'half_open', 'closed']);
});

test('an attempt that fails when the store answers again goes back to asking', async () => {
  const it = scene();
  it.answers = true;
  for (let i = 0; i < 3; i++) it.breaker.failed();
  await it.breaker.pass();
  it.breaker.failed();
  expect(it.breaker.state).toBe('open');
  await it.breaker.pass();
  it.breaker.succeeded();
  expect(it.states).toEqual(['open', 'half_open', 'open', 'half_open', 'closed']);
});

test('whoever waits gets an error when delivery stops', async () => {
  const { breaker } = scene();
  for (let i = 0; i < 3; i++) breaker.failed();
  const waiting = breaker.pass();
  stopping.abort();
  await expect(waiting).rejects.toThrow('delivery is stopping');
});
