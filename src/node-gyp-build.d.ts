/** Loads the prebuilt binary that an npm package carries for this platform; the package has no types of its own. */
declare module 'node-gyp-build' {
  function load(packageFolder: string): unknown;
  export = load;
}
