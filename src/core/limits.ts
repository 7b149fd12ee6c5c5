/** Every bound of the server in one place; relations between bounds are checked when the module loads. */
export const LIMITS = {
  /** Request body, before and after decompression (OTLP specification, OH10 and OG3). Configurable downward or upward. */
  requestBytesMax: 64 * 1024 * 1024,
  /** Response body or message (OH11). */
  responseBytesMax: 4 * 1024 * 1024,
  /** Depth of an AnyValue or of a JSON document. */
  nestingDepthMax: 100,
  /** Bytes of requests that are between socket and WAL at one time; above, clients are told to retry. */
  inFlightBytesMax: 256 * 1024 * 1024,
  /** Rows of one request, accepted and rejected: a row on the wire can be two bytes, in columns it is hundreds. */
  rowsPerRequestMax: 1_000_000,
  /** Tables beside the built-in ones. */
  tablesMax: 1_000,
  /** Rules of `routing.rules`. */
  routingRulesMax: 256,
  /** Longest wait for an ack level above `wal`. */
  ackTimeoutMs: 30_000,
  /** An idempotency key, UTF-8. */
  idempotencyKeyBytesMax: 255,
  /** Requests of one write stream that are read and not yet acknowledged, and their bytes; above, the client is held back. */
  streamRequestsMax: 64,
  streamBytesMax: 32 * 1024 * 1024,
  /** Bytes of gRPC messages of all streams that are not whole, or not taken by their handlers. */
  arrivingBytesMax: 128 * 1024 * 1024,
  /** Calls that wait for room for such a message; of each there may be an HTTP/2 window (1 MiB) beside. */
  arrivingCallsMax: 256,
  /** Rejections listed in one answer; the count is always exact. */
  rejectionsListedMax: 100,
  /** Rows of one Arrow record batch given to a sink in one write (C2: one block). */
  rowsPerWriteMax: 1_000_000,
  /** Tables that wait beside a sink's cursor because the store refuses them; with more, the cursor waits too. */
  heldTablesMax: 100,
  /** How far the delivery interval grows while a store says that inserts are too many. */
  deliveryIntervalMsMax: 30_000,
  /** Columns of one table (PostgreSQL's limit less our own columns). */
  columnsMax: 1_500,
  /** Columns of one Arrow stream: what a table has no room for goes to its overflow column. */
  streamColumnsMax: 10_000,
  /** Columns of its PostgreSQL table, where a timestamp has two: the limit is 1,600. */
  storeColumnsMax: 1_590,
  /** Distinct attribute keys remembered by one decoder; later keys are stored without interning. */
  internedKeysMax: 4_096,
  /** One WAL frame: a whole request after decoding. Arrow may be larger than the wire form. */
  walFrameBytesMax: 512 * 1024 * 1024,
  /** Size of a WAL segment file; a larger frame gets a segment of its own. */
  walSegmentBytes: 64 * 1024 * 1024,
  /** Header bytes and their number (GR11 suggests 8 KiB). */
  httpHeaderBytesMax: 16 * 1024,
  /** A timestamp both stores can hold: ClickHouse DateTime64(9) starts in 1900 and ends where int64 nanoseconds end. */
  timestampNsMin: -2_208_988_800_000_000_000n,
  timestampNsMax: 9_223_372_036_854_775_807n,
} as const;

if (LIMITS.walFrameBytesMax < LIMITS.requestBytesMax * 2) {
  throw new Error('limits: one request must fit into one WAL frame');
}
if (LIMITS.rowsPerRequestMax > LIMITS.rowsPerWriteMax) {
  throw new Error('limits: the rows of one request must fit into one write of a sink');
}
if (LIMITS.arrivingBytesMax < LIMITS.requestBytesMax * 2) {
  throw new Error('limits: two messages of the greatest size must be able to arrive at once');
}
if (LIMITS.inFlightBytesMax < LIMITS.requestBytesMax) {
  throw new Error('limits: the in-flight budget must hold at least one request of the greatest size');
}
