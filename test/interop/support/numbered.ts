/** What `numbered` of python/flight.py and arrow-go/main.go write, as SQL: each column of a row as it follows from the row's `id`. */

const HOT: Readonly<Record<string, string>> = {
  ts: `extract(epoch FROM ts)::numeric * 1000000000 + ts_ns = 1700000000000000000 + id::numeric * 1000003`,
  flag: 'flag = (id % 3 = 0)',
  i8: 'i8 = id % 256 - 128',
  i16: 'i16 = id % 65536 - 32768',
  i32: 'i32 = id - 2147483648',
  u8: 'u8 = id % 256',
  u16: 'u16 = id % 65536',
  u32: 'u32 = id + 4000000000',
  u64: 'u64 = id::numeric + 9223372036854775808',
  f16: 'f16::float8 = (id % 1000) / 4.0::float8',
  f32: 'f32::float8 = (id % 1000) / 4.0::float8',
  f64: 'f64 = id / 8.0::float8',
  maybe: 'maybe IS NOT DISTINCT FROM CASE WHEN id % 2 = 0 THEN id END',
  text: `text = 'v' || id`,
  large_text: `large_text = 'v' || id`,
  view_text: `view_text = 'a text that is too long for a view: v' || id`,
  word: `word = 'k' || id % 7`,
  bytes: `bytes = convert_to(id::text, 'UTF8')`,
  view_bytes: `view_bytes = convert_to(id::text, 'UTF8')`,
  fixed_bytes: `fixed_bytes = convert_to(lpad(id::text, 8, '0'), 'UTF8')`,
  day: `day = date '1970-01-01' + (id % 30000)::int`,
  day_ms: `day_ms = date '1970-01-01' + (id % 30000)::int`,
  at_s: `extract(epoch FROM at_s) = 1700000000 + id`,
  at_ms: `extract(epoch FROM at_ms) * 1000 = 1700000000000 + id`,
  at_us: `extract(epoch FROM at_us) * 1000000 = 1700000000000000 + id`,
  took: 'took = id * 1000000',
  price: 'price = id * -0.0625 AND scale(price) <= 4',
  big: 'big = id * 12345678901234567.00000000000000000001',
  place: `place = jsonb_build_object('id', id, 'name', 'v' || id)`,
  vector: 'vector = ARRAY[(id % 1000) / 4.0::float8, (id % 1000) / 4.0::float8]',
  ints: 'ints = ARRAY[id, id]',
  longs: 'longs = ARRAY[id, id]',
  doubles: 'doubles = ARRAY[id / 4.0::float8, id / 4.0::float8]',
  texts: 'texts = ARRAY[id::text, id::text]',
  labels: `labels = jsonb_build_object('k' || id % 7, 'v' || id)`,
};

const COLD: Readonly<Record<string, string>> = {
  ts: `toUnixTimestamp64Nano(ts) = 1700000000000000000 + id * 1000003`,
  flag: 'flag = (id % 3 = 0)',
  i8: 'i8 = id % 256 - 128',
  i16: 'i16 = id % 65536 - 32768',
  i32: 'i32 = id - 2147483648',
  u8: 'u8 = id % 256',
  u16: 'u16 = id % 65536',
  u32: 'u32 = id + 4000000000',
  u64: 'u64 = toUInt64(id) + 9223372036854775808',
  f16: 'toFloat64(f16) = (id % 1000) / 4',
  f32: 'toFloat64(f32) = (id % 1000) / 4',
  f64: 'f64 = id / 8',
  maybe: 'maybe IS NOT DISTINCT FROM if(id % 2 = 0, id, NULL)',
  text: `text = concat('v', toString(id))`,
  large_text: `large_text = concat('v', toString(id))`,
  view_text: `view_text = concat('a text that is too long for a view: v', toString(id))`,
  word: `word = concat('k', toString(id % 7))`,
  bytes: `bytes = toString(id)`,
  view_bytes: `view_bytes = toString(id)`,
  fixed_bytes: `fixed_bytes = leftPad(toString(id), 8, '0')`,
  day: `toInt32(day) = id % 30000`,
  day_ms: `toInt32(day_ms) = id % 30000`,
  at_s: `toUnixTimestamp64Nano(at_s) = (1700000000 + id) * 1000000000`,
  at_ms: `toUnixTimestamp64Nano(at_ms) = (1700000000000 + id) * 1000000`,
  at_us: `toUnixTimestamp64Nano(at_us) = (1700000000000000 + id) * 1000`,
  took: 'took = id * 1000000',
  price: `price = toDecimal128(id, 0) * toDecimal128('-0.0625', 4)`,
  big: `big = toDecimal256(id, 0) * toDecimal256('12345678901234567.00000000000000000001', 20)`,
  place: `place = concat('{"id":', toString(id), ',"name":"v', toString(id), '"}')`,
  vector: 'vector = [(id % 1000) / 4, (id % 1000) / 4]',
  ints: 'ints = [id, id]',
  longs: 'longs = [id, id]',
  doubles: 'doubles = [id / 4, id / 4]',
  texts: 'texts = [toString(id), toString(id)]',
  labels: `labels = map(concat('k', toString(assumeNotNull(id) % 7)), concat('v', toString(assumeNotNull(id))))`,
};

export const COLUMNS = Object.keys(HOT);

/** A query whose one row is the number of different ids, and for each column the number of rows with another value than expected. */
export function differences(tier: 'hot' | 'cold', table: string): string {
  const wrong = Object.entries(tier === 'hot' ? HOT : COLD).map(([, holds]) =>
    tier === 'hot' ? `count(*) FILTER (WHERE (${holds}) IS NOT TRUE)` : `countIf(NOT ifNull(${holds}, false))`,
  );
  const ids = tier === 'hot' ? 'count(DISTINCT id)' : 'uniqExact(id)';
  return `SELECT ${ids}, ${wrong.join(', ')} FROM ${table}`;
}
