import { rm } from 'node:fs/promises';
import { shared } from './shared-postgres';

// oxlint-disable-next-line import/no-default-export -- the form jest asks for
export default async function globalTeardown(): Promise<void> {
  const { postgres } = shared;
  if (postgres === undefined) return;
  await postgres.server.stop();
  await rm(postgres.directory, { recursive: true, force: true });
}
