import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { configKeys } from '../../src/config';

const ROOT = join(__dirname, '..', '..');
const read = (name: string): string => readFileSync(join(ROOT, name), 'utf8');

/** The table of settings as the README must hold it. */
function configTable(): string {
  const rows = configKeys().map(({ path, environment, description, fallback }) => {
    const isObject = typeof fallback === 'object' && !Array.isArray(fallback);
    const text = isObject ? JSON.stringify(fallback) : ((fallback as string | number | string[] | undefined)?.toString() ?? '');
    const value = text === '' ? '' : `\`${text}\``;
    return `| \`${path.join('.')}\` | \`${environment}\` | ${value} | ${description} |`;
  });
  return ['| key | variable | default | meaning |', '|---|---|---|---|', ...rows].join('\n');
}

test('the README lists every setting with its default', () => {
  const [, between] = /<!-- config:begin[^>]*-->\n([\s\S]*?)<!-- config:end -->/.exec(read('README.md')) ?? [];
  expect(between?.trim()).toBe(configTable());
});

test.each(['README.md', 'ARCHITECTURE.md', 'CHANGELOG.md'])('files and folders that %s names exist', (name) => {
  const named = [...read(name).matchAll(/`((?:src|test|deploy|docs|bench|proto)\/[\w./-]+)`|\]\(([\w./-]+)\)/g)].map(
    ([, code, link]) => code ?? link,
  );
  expect(named.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
});

test('the README names every make target that a user needs, and each exists', () => {
  const targets = new Set([...read('Makefile').matchAll(/^([a-z-]+):/gm)].map(([, target]) => target));
  const named = [...read('README.md').matchAll(/`make ([a-z-]+)/g)].map(([, target]) => target);
  expect(named.length).toBeGreaterThan(3);
  expect(named.filter((target) => !targets.has(target))).toEqual([]);
});
