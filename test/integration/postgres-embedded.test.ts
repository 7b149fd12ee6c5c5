import { Client } from 'pg';
import { startPostgres } from '../support/postgres';

test('x', async () => {
  const pg = await startPostgres();
  const c = new Client({ connectionString: pg.url });
  await c.connect();
  console.log((await c.query('select version(), current_user')).rows, pg.url);
  await c.end();
  await pg.stop();
});
