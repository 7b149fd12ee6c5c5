/** `node -r` hook: an installation without the optional package chdb. */
const Module = require('node:module');

const resolve = Module._resolveFilename;
Module._resolveFilename = (name, ...rest) => {
  if (name === 'chdb') throw new Error("Cannot find module 'chdb'");
  return resolve(name, ...rest);
};
