/** Suites that are run against a real TimescaleDB: `make test-timescale`, see test/timescale/run.mjs. */
const base = require('./jest.config.js');

module.exports = { ...base, testMatch: ['**/*.test.ts', '**/*.timescale.ts'] };
