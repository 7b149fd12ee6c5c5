/** Requests of commands to the admin port of a running server. */
import { request } from 'node:http';

export const DEFAULT_ADMIN = 'http://127.0.0.1:8080';
const TIMEOUT_MS = 120_000;

/** The JSON answer. Throws with the server's own words when it refuses. */
export async function ask(admin: string, method: string, path: string, body?: unknown): Promise<unknown> {
  const text = await exchange(admin, method, path, body === undefined ? undefined : JSON.stringify(body));
  const answer = JSON.parse(text.body) as { error?: { message: string } };
  if (text.status !== 200) throw new Error(answer.error?.message ?? `the server answered with status ${text.status}`);
  return answer;
}

function exchange(
  admin: string,
  method: string,
  path: string,
  body: string | undefined,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const call = request(new URL(path, admin), { method, headers, timeout: TIMEOUT_MS }, (response) => {
      const received: Buffer[] = [];
      response.on('data', (chunk: Buffer) => received.push(chunk));
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(received).toString('utf8') }));
    });
    call.on('timeout', () => call.destroy(new Error('the server does not answer')));
    call.on('error', (error) => reject(new Error(`cannot reach the admin port at ${admin}: ${error.message}`, { cause: error })));
    call.end(body);
  });
}

/** Texts from stores quote clients' text: nothing of it may steer a terminal. */
export const oneLine = (text: string): string => text.replace(/[\p{Cc}\p{Cf}]+/gu, ' ');
