import type { EmbeddedPostgres } from '../../src/embedded/postgres';

/** Environment variable by which jest's workers learn of the shared server. */
export const SHARED_POSTGRES_URL = 'THERMOCLINE_TEST_POSTGRES_URL';

/** Set-up and tear-down run in one process but load their modules apart: only the global object is common to both. */
export const shared = globalThis as { postgres?: { server: EmbeddedPostgres; directory: string } };
