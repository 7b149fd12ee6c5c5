/**
 * The logger and the whole metric catalogue: every metric of the server is declared here, so that names, units and labels
 * can be read in one place. Names follow the Prometheus conventions (base units, `_total` for counters).
 */
import pino, { type Logger } from 'pino';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

export type { Logger } from 'pino';

/** JSON lines on stdout. */
export function createLogger(level: string): Logger {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ dest: 1, sync: false }));
}

/** A logger that says nothing, for tests and tools. */
export const silentLogger = (): Logger => pino({ level: 'silent' });

const LATENCY_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** All metrics of one server. Label values come from closed sets or from table names, never from clients' text. */
export class Telemetry {
  readonly registry = new Registry();

  readonly acceptedRows = this.counter('accepted_rows_total', 'Rows durable in the WAL', ['table', 'protocol']);
  readonly acceptedBytes = this.counter('accepted_bytes_total', 'Arrow bytes durable in the WAL', ['table', 'protocol']);
  readonly rejectedRows = this.counter('rejected_rows_total', 'Rows refused to the client, by reason', [
    'table',
    'protocol',
    'code',
  ]);
  readonly requests = this.counter('requests_total', 'Write requests, by outcome (ok, partial, or an error code)', [
    'protocol',
    'outcome',
  ]);
  readonly requestBytes = this.counter('request_bytes_total', 'Bytes of request bodies as received', ['protocol']);
  readonly ackSeconds = this.histogram('ack_duration_seconds', 'From the whole request received to its acknowledgement', [
    'protocol',
  ]);
  readonly inFlightBytes = this.gauge('in_flight_bytes', 'Bytes of requests between socket and WAL', []);

  readonly refusedRequests = this.counter('refused_requests_total', 'Requests told to retry, by what was full', ['reason']);
  readonly delayedRequests = this.counter('delayed_requests_total', 'Acknowledgements held back over a soft mark', []);
  readonly backPressure = this.gauge('back_pressure', '0 open, to 1 at the hard mark, of the log and its disk', ['cause']);
  readonly drainRate = this.gauge('wal_drain_bytes_per_second', 'How fast the stores take the WAL in, averaged', []);

  readonly walFsyncSeconds = this.histogram('wal_fsync_duration_seconds', 'One fdatasync of the WAL', []);
  readonly walCommitEntries = this.counter('wal_commit_entries_total', 'Entries made durable by group commits', []);
  readonly walSizeBytes = this.gauge('wal_size_bytes', 'Bytes of all WAL segments', []);
  readonly walRetainedBytes = this.gauge('wal_retained_bytes', 'Bytes of WAL segments that wait for a store', []);
  readonly walLimitBytes = this.gauge('wal_limit_bytes', 'The hard mark of wal_retained_bytes', []);
  readonly walDiskFreeBytes = this.gauge('wal_disk_free_bytes', 'Free bytes of the device of the WAL', []);
  readonly walScrubbedBytes = this.counter('wal_scrubbed_bytes_total', 'Bytes of sealed WAL segments read again', []);
  readonly walDamage = this.counter('wal_damage_total', 'Damage found in sealed WAL segments', ['needed']);
  readonly walSegments = this.gauge('wal_segments', 'WAL segment files', []);
  readonly walLagRows = this.gauge('wal_lag_rows', 'Rows in the WAL that the sink has not delivered', ['tier']);
  readonly walLagBytes = this.gauge('wal_lag_bytes', 'Bytes in the WAL that the sink has not delivered', ['tier']);
  readonly walLagSeconds = this.gauge('wal_lag_seconds', 'Age of the oldest entry that the sink has not delivered', ['tier']);

  readonly deliveredRows = this.counter('delivered_rows_total', 'Rows delivered to a sink', ['table', 'tier']);
  readonly deliveredBytes = this.counter('delivered_bytes_total', 'Arrow bytes delivered to a sink', ['table', 'tier']);
  readonly deliverySeconds = this.histogram('delivery_write_duration_seconds', 'One insert into a sink', ['tier']);
  readonly rollupSeconds = this.histogram('rollup_build_duration_seconds', 'One day of a roll-up, built from its rows', [
    'table',
    'period',
  ]);
  readonly deliveryFailures = this.counter('delivery_failures_total', 'Failed attempts of inserts, by what they mean', [
    'tier',
    'failure',
  ]);
  readonly sinkUp = this.gauge('sink_up', '1 while the sink answers', ['tier']);
  readonly sinkBreaker = this.gauge(
    'sink_breaker',
    '0 writes go on, 1 one is tried, 2 the sink is only asked whether it answers',
    ['tier'],
  );
  readonly heldTables = this.gauge('held_tables', 'Tables whose rows wait because their store refuses them', ['tier']);
  readonly heldRows = this.gauge('held_rows', 'Rows of held tables', ['tier']);
  readonly ledgerRows = this.gauge(
    'ledger_rows',
    'Rows by what became of them: accepted is the sum of delivered, dead_letters, diverted and pending',
    ['table', 'tier', 'state'],
  );
  readonly ledgerBalanced = this.gauge('ledger_balanced', '1 while the ledger balances for every table and tier', []);
  readonly rollupFailures = this.counter('rollup_failures_total', 'Roll-ups that could not be kept', ['rollup']);
  readonly sanitizedValues = this.counter('sanitized_values_total', 'Values changed because a store cannot hold them', [
    'tier',
    'reason',
  ]);

  readonly abnormalLabels = this.counter(
    'abnormal_labels_total',
    'Rows with abnormal labels, by what is wrong and what was done',
    ['table', 'reason', 'policy'],
  );
  readonly deadLetters = this.counter(
    'dead_letters_total',
    'Rows parked because a store refuses them, by its code, or (tier none) before they were routed',
    ['table', 'tier', 'code'],
  );
  readonly divertedRows = this.counter('diverted_rows_total', 'Late rows of a demoted day, sent to the other tier', [
    'table',
    'tier',
  ]);
  readonly demotionRows = this.counter('demotion_rows_total', 'Rows copied, compared or brought back by demotions, by step', [
    'table',
    'step',
  ]);
  readonly demotionFailures = this.counter('demotion_failures_total', 'Demotions held up by a store or given up', []);
  readonly retentionPartitions = this.counter(
    'retention_partitions_dropped_total',
    'Partitions that PostgreSQL no longer keeps (postgres.keep_days)',
    ['table'],
  );
  readonly retentionRows = this.counter('retention_rows_dropped_total', 'Their rows, about, and old rows outside of partitions', [
    'table',
  ]);
  readonly deadLettersKept = this.gauge('dead_letters', 'Dead letters that are kept', []);
  readonly deadLettersBytes = this.gauge('dead_letters_bytes', 'Bytes of the dead letters that are kept', []);

  private counter<L extends string>(name: string, help: string, labelNames: L[]): Counter<L> {
    return new Counter({ name: `thermocline_${name}`, help, labelNames, registers: [this.registry] });
  }

  private gauge<L extends string>(name: string, help: string, labelNames: L[]): Gauge<L> {
    return new Gauge({ name: `thermocline_${name}`, help, labelNames, registers: [this.registry] });
  }

  private histogram<L extends string>(name: string, help: string, labelNames: L[]): Histogram<L> {
    return new Histogram({ name: `thermocline_${name}`, help, labelNames, buckets: LATENCY_BUCKETS, registers: [this.registry] });
  }
}
