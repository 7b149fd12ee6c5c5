import type { HttpReply } from '../http-contract';

export function json(status: number, value: object): HttpReply {
  return { status, contentType: 'application/json', body: JSON.stringify(value) };
}
