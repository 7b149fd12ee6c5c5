/** `make interop`: other people's clients against the built command. Needs Go and Python, so it is not part of `make test`. */
const base = require('./jest.config');

module.exports = {
  transform: base.transform,
  testEnvironment: 'node',
  roots: ['<rootDir>/test/interop'],
  testMatch: ['**/*.interop.ts'],
  globalSetup: '<rootDir>/test/interop/support/toolchains.ts',
  reporters: ['default', '<rootDir>/test/support/reporter.cjs'],
  // One at a time: every file starts a server with embedded stores.
  maxWorkers: 1,
  testTimeout: 60_000,
};
