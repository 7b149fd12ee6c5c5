/** Lets a child process of a test run our TypeScript as it is: `node -r test/support/run-typescript.cjs file.ts`. */
const { transformFileSync } = require('@swc/core');

require.extensions['.ts'] = (module, file) => {
  const options = { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' }, module: { type: 'commonjs' }, swcrc: false };
  module._compile(transformFileSync(file, options).code, file);
};
