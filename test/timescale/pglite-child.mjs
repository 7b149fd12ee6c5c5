/** PGlite in a process of its own (its modules cannot be loaded in jest): a line of JSON with a statement in, one with its rows out. */
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [folder] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(`${folder}/${path}`).href);
const { PGlite } = await load('dist/index.js');
const { timescaledb } = await load('dist/timescaledb/index.js');
const database = await PGlite.create({ extensions: { timescaledb } });
await database.exec("CREATE EXTENSION IF NOT EXISTS timescaledb; SET timezone = 'UTC'");

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const results = await database.exec(JSON.parse(line));
    answer = { rows: (results.at(-1)?.rows ?? []).map((row) => Object.values(row)) };
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await database.close();
process.exit(0);
