/**
 * `time_bucket` for servers without TimescaleDB, with its signatures and its buckets: widths without months count from Monday
 * 2000-01-03, widths of months from January 2000, both in UTC unless a time zone is given; `offset` shifts the borders.
 * Two differences: a `date` takes widths below a day, which TimescaleDB refuses; an `offset` of days on a timestamptz counts days
 * in UTC, not in the time zone of the session, which would make the result depend on it.
 * Plain SQL of one expression, so that PostgreSQL inlines it; not STRICT, which would prevent that (null still gives null).
 */

/** Number of months in an interval; 0 when it is made of days and time only. */
const MONTHS = '(extract(year FROM bucket_width)::int * 12 + extract(month FROM bucket_width)::int)';

const monthNumber = (time: string): string => `(extract(year FROM ${time})::int * 12 + extract(month FROM ${time})::int - 1)`;

/** The bucket of `ts` (timestamp without time zone) counted from `origin`, months from the month of `monthOrigin`. */
function bucket(ts: string, origin: string, monthOrigin: string): string {
  const since = `(${monthNumber(ts)} - ${monthNumber(monthOrigin)})`;
  return `CASE WHEN ${MONTHS} = 0 THEN date_bin(bucket_width, ${ts}, ${origin})
    WHEN bucket_width = make_interval(months => ${MONTHS}) THEN
      date_trunc('month', ${monthOrigin}) + make_interval(months => floor(${since}::float8 / ${MONTHS})::int * ${MONTHS})
    -- Months mixed with days have no fixed length: date_bin refuses the width with its own error.
    ELSE date_bin(bucket_width, ${ts}, ${origin}) END`;
}

const WEEK_ORIGIN = `timestamp '2000-01-03 00:00:00'`;
const MONTH_ORIGIN = `timestamp '2000-01-01 00:00:00'`;
const UTC = `'UTC'`;

const plain = (ts: string): string => bucket(ts, WEEK_ORIGIN, MONTH_ORIGIN);
const inZone = (ts: string, zone: string): string => `(${ts} AT TIME ZONE ${zone})`;

/** Arguments and body of each variant. */
const VARIANTS: readonly { args: string; returns: string; body: string }[] = [
  { args: 'ts timestamp', returns: 'timestamp', body: plain('ts') },
  { args: 'ts timestamp, origin timestamp', returns: 'timestamp', body: bucket('ts', 'origin', 'origin') },
  { args: 'ts timestamp, "offset" interval', returns: 'timestamp', body: `(${plain('(ts - "offset")')}) + "offset"` },
  { args: 'ts timestamptz', returns: 'timestamptz', body: inZone(`(${plain(inZone('ts', UTC))})`, UTC) },
  {
    args: 'ts timestamptz, origin timestamptz',
    returns: 'timestamptz',
    body: inZone(`(${bucket(inZone('ts', UTC), inZone('origin', UTC), inZone('origin', UTC))})`, UTC),
  },
  {
    args: 'ts timestamptz, "offset" interval',
    returns: 'timestamptz',
    body: inZone(`((${plain(`(${inZone('ts', UTC)} - "offset")`)}) + "offset")`, UTC),
  },
  {
    args: 'ts timestamptz, timezone text, origin timestamptz DEFAULT NULL, "offset" interval DEFAULT NULL',
    returns: 'timestamptz',
    body: inZone(
      `((${bucket(
        `(${inZone('ts', 'timezone')} - coalesce("offset", interval '0'))`,
        `coalesce(${inZone('origin', 'timezone')}, ${WEEK_ORIGIN})`,
        `coalesce(${inZone('origin', 'timezone')}, ${MONTH_ORIGIN})`,
      )}) + coalesce("offset", interval '0'))`,
      'timezone',
    ),
  },
  { args: 'ts date', returns: 'date', body: `(${plain('ts::timestamp')})::date` },
  {
    args: 'ts date, origin date',
    returns: 'date',
    body: `(${bucket('ts::timestamp', 'origin::timestamp', 'origin::timestamp')})::date`,
  },
  { args: 'ts date, "offset" interval', returns: 'date', body: `((${plain('(ts::timestamp - "offset")')}) + "offset")::date` },
];

export const CREATE_TIME_BUCKET: readonly string[] = VARIANTS.map(
  ({ args, returns, body }) => `CREATE OR REPLACE FUNCTION time_bucket(bucket_width interval, ${args}) RETURNS ${returns}
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT ${body} $$`,
);
