/** Read-only SQL on one store, answered in Arrow: the port through which adapters read. */
export interface ArrowSql {
  /**
   * The rows as bytes of Arrow IPC streams, in pieces of any size. A stream may end and another one with the same schema follow.
   * Memory is bounded however many rows there are; leaving the loop ends the query. Throws IngestError: `invalid_argument` for a
   * statement that the store refuses, `unavailable`, `deadline_exceeded`.
   */
  stream(sql: string): AsyncIterable<Uint8Array>;
}
