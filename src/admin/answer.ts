/** Answers of the admin port. */

/** Ready to send. */
export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string | Uint8Array;
}

/** To be sent as JSON. */
export interface JsonAnswer {
  readonly status: number;
  readonly body: unknown;
}

export const json = (status: number, value: unknown): Answer => ({
  status,
  contentType: 'application/json',
  body: JSON.stringify(value),
});

/** `more`: further members of the error. */
export const failure = (status: number, code: string, message: string, more: Readonly<Record<string, string>> = {}): Answer =>
  json(status, { error: { code, ...more, message } });
