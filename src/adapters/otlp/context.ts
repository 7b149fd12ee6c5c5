/** What a decoder must be told: the clock is an argument. */
export interface DecodeContext {
  /** When the request arrived, nanoseconds since 1970: the timestamp of log records that carry none. */
  readonly arrivalNs: bigint;
}
