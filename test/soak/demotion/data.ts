/** Rows of the past in PostgreSQL, and what SQL says of them in either store: counts, sums and hashes that both compute alike. */
import type { Client } from 'pg';
import type { TestClickHouse } from '../../support/clickhouse';

export const DAY_MS = 86_400_000;
export const DAYS = 5;
/** Rows of the past have this in `app`, so that they can be told from those of the load. */
export const PAST_APP = 'past';

const dayText = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

/** First day of the past: all five are older than two days. */
export const firstDay = (nowMs: number): number => Math.floor(nowMs / DAY_MS) * DAY_MS - (DAYS + 2) * DAY_MS;

/** Rows of one day, made by PostgreSQL: every column of a metric, nulls, kinds of attributes, nanoseconds. */
export async function fillDay(client: Client, fromMs: number, rows: number, first: number): Promise<void> {
  await client.query(
    `INSERT INTO metrics_events (time, time_ns, app, host, labels, value, trace_id, level, metric, unit, kind, start_time, start_time_ns,
        temporality, monotonic, value_int, flags, exemplars, resource, scope)
      SELECT $1::timestamptz + (i * (86400000000 / $2::bigint)) * interval '1 microsecond', (i % 1000)::smallint, '${PAST_APP}',
        'host-' || i % 20,
        jsonb_build_object('path', '/orders/' || i % 500, 'code', 200 + i % 5, 'ok', i % 7 <> 0, 'share', (i % 8) / 4.0),
        (i % 4000) * 0.25, CASE WHEN i % 3 = 0 THEN md5(i::text) END, CASE WHEN i % 50 = 0 THEN 'warn' END,
        'metric_' || i % 30, CASE WHEN i % 2 = 0 THEN 'ms' ELSE '' END, 'gauge',
        CASE WHEN i % 5 = 0 THEN $1::timestamptz END, CASE WHEN i % 5 = 0 THEN 7 END,
        NULL, i % 2 = 0, $3::bigint + i, (i % 3)::bigint,
        CASE WHEN i % 100 = 0 THEN jsonb_build_array(jsonb_build_object('value', i)) END,
        jsonb_build_object('service.name', '${PAST_APP}', 'pid', 100 + i % 4), '{}'
      FROM generate_series(0, $2::bigint - 1) AS i`,
    [new Date(fromMs).toISOString(), rows, first],
  );
}

/** Figures of one day, the same from both stores. */
export interface DayFigures {
  readonly day: string;
  readonly rows: string;
  readonly sum: string;
  readonly nanos: string;
  readonly hash: string;
  readonly labels: string;
  readonly nulls: string;
}

/** What is hashed of a row, in the words of PostgreSQL and of ClickHouse. Md5 has nothing to do with our own digest. */
const HOT_ROW = `concat_ws('|', (extract(epoch FROM time) * 1000000)::bigint, time_ns, app, host, value, coalesce(trace_id, ''),
  coalesce(level, ''), metric, unit, kind, coalesce((extract(epoch FROM start_time) * 1000000)::bigint::text, '-'),
  coalesce(start_time_ns::text, '-'), coalesce(temporality, ''), monotonic::text, value_int, flags,
  coalesce(exemplars -> 0 ->> 'value', ''), resource ->> 'service.name', resource ->> 'pid')`;
const COLD_ROW = `concat_ws('|', toString(intDiv(toUnixTimestamp64Nano(time), 1000)), toString(toUnixTimestamp64Nano(time) % 1000), app, host,
  toString(value), trace_id, level, metric, unit, kind, if(isNull(start_time), '-', toString(intDiv(toUnixTimestamp64Nano(assumeNotNull(start_time)), 1000))),
  if(isNull(start_time), '-', toString(toUnixTimestamp64Nano(assumeNotNull(start_time)) % 1000)), temporality, toString(monotonic),
  toString(value_int), toString(flags), JSONExtractRaw(exemplars, 1, 'value'), resource['service.name'], resource['pid'])`;
const HOT_LABELS = `concat_ws('|', labels ->> 'path', labels ->> 'code', labels ->> 'ok', labels ->> 'share')`;
const COLD_LABELS = `concat_ws('|', labels['path'], labels['code'], labels['ok'], labels['share'])`;
const hotHash = (text: string): string => `sum(('x' || substr(md5(${text}), 1, 8))::bit(32)::bigint)`;
const coldHash = (text: string): string => `sum(reinterpretAsUInt32(reverse(substring(MD5(${text}), 1, 4))))`;

export async function hotFigures(client: Client, fromMs: number): Promise<DayFigures> {
  const { rows } = await client.query<DayFigures>(
    `SELECT '${dayText(fromMs)}' AS day, count(*)::text AS rows, sum(value_int)::text AS sum, sum(time_ns)::text AS nanos, ${hotHash(HOT_ROW)}::text AS hash,
      ${hotHash(HOT_LABELS)}::text AS labels, (count(*) - count(trace_id))::text AS nulls
      FROM metrics_events WHERE app = '${PAST_APP}' AND time >= $1 AND time < $2`,
    [new Date(fromMs).toISOString(), new Date(fromMs + DAY_MS).toISOString()],
  );
  return rows[0];
}

export async function coldFigures(clickhouse: TestClickHouse, fromMs: number): Promise<DayFigures> {
  const [row] = await clickhouse.rows(
    `SELECT toString(count()), toString(sum(value_int)), toString(sum(toUnixTimestamp64Nano(time) % 1000)), toString(${coldHash(COLD_ROW)}),
      toString(${coldHash(COLD_LABELS)}), toString(countIf(JSONHas(_batch_kept, 'null') AND has(JSONExtract(_batch_kept, 'null', 'Array(String)'), 'trace_id')))
      FROM metrics_events WHERE app = '${PAST_APP}' AND toYYYYMMDD(time) = ${dayText(fromMs).replaceAll('-', '')}`,
  );
  const [rows, sum, nanos, hash, labels, nulls] = row as string[];
  return { day: dayText(fromMs), rows, sum, nanos, hash, labels, nulls };
}

/** Sums of the roll-up by hour of one day, and of the rows themselves: count and sum. */
export async function rollupFigures(clickhouse: TestClickHouse, fromMs: number): Promise<{ rollup: string; raw: string }> {
  const day = dayText(fromMs).replaceAll('-', '');
  const [[rollup]] = await clickhouse.rows(
    `SELECT toString(groupArray((b, c, s))) FROM (SELECT bucket AS b, sum(count) AS c, sum(sum) AS s FROM metrics_events_1h
      WHERE toYYYYMMDD(bucket) = ${day} GROUP BY b ORDER BY b)`,
  );
  const [[raw]] = await clickhouse.rows(
    `SELECT toString(groupArray((b, c, s))) FROM (SELECT toStartOfHour(toDateTime(time, 'UTC')) AS b, count(value) AS c, sum(value) AS s
      FROM metrics_events WHERE toYYYYMMDD(time) = ${day} GROUP BY b ORDER BY b)`,
  );
  return { rollup: rollup as string, raw: raw as string };
}
