/** Checks rendered manifests against the schemas of the Kubernetes API: types and required fields, then unknown fields. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { StatefulSet } from 'kubernetes-models/apps/v1/StatefulSet';
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1/PodDisruptionBudget';
import { ConfigMap } from 'kubernetes-models/v1/ConfigMap';
import { Pod } from 'kubernetes-models/v1/Pod';
import { Secret } from 'kubernetes-models/v1/Secret';
import { Service } from 'kubernetes-models/v1/Service';
import { ServiceAccount } from 'kubernetes-models/v1/ServiceAccount';
import type { Manifest } from './helm';

const ROOT = resolve(__dirname, '../../..');

type Model = new (data: never) => { validate(): void };
const MODELS: Readonly<Record<string, Model>> = {
  'apps/v1/StatefulSet': StatefulSet,
  'networking.k8s.io/v1/NetworkPolicy': NetworkPolicy,
  'policy/v1/PodDisruptionBudget': PodDisruptionBudget,
  'v1/ConfigMap': ConfigMap,
  'v1/Pod': Pod,
  'v1/Secret': Secret,
  'v1/Service': Service,
  'v1/ServiceAccount': ServiceAccount,
};
/** Custom resources, whose schema is not part of Kubernetes. */
const CUSTOM = new Set(['monitoring.coreos.com/v1/ServiceMonitor']);

const modelPath = (manifest: Manifest) => `${manifest.apiVersion}/${manifest.kind}`;
const builtIn = (manifests: readonly Manifest[]) => manifests.filter((manifest) => !CUSTOM.has(modelPath(manifest)));

/** Throws at the first field of a wrong type, missing field, or kind that is not known here. */
export function checkTypes(manifests: readonly Manifest[]): void {
  for (const manifest of builtIn(manifests)) {
    const model = MODELS[modelPath(manifest)];
    if (model === undefined) throw new Error(`${modelPath(manifest)} is not a kind this chart makes`);
    try {
      new model(manifest as never).validate();
    } catch (error) {
      throw new Error(`${manifest.kind} ${manifest.metadata.name}: ${(error as Error).message}`, { cause: error });
    }
  }
}

/**
 * The compiler's complaints about fields that the API does not have. An API server drops those silently, so that a misspelt
 * field would only show in production; the JSON schemas allow them, TypeScript's check of object literals does not.
 */
export function unknownFields(manifests: readonly Manifest[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'thermocline-manifests-'));
  try {
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'), 'dir');
    const lines = builtIn(manifests).map((manifest, index) => {
      const type = `import('kubernetes-models/${modelPath(manifest)}').I${manifest.kind}`;
      return `export const m${index}: ${type} = ${JSON.stringify(manifest, null, 1)};`;
    });
    writeFileSync(join(folder, 'manifests.ts'), lines.join('\n'));
    const options = ['--noEmit', '--strict', '--skipLibCheck', '--types', '', '--module', 'nodenext', '--ignoreConfig'];
    execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), ...options, 'manifests.ts'], {
      cwd: folder,
      encoding: 'utf8',
    });
    return '';
  } catch (error) {
    const { stdout } = error as { stdout?: string };
    if (stdout === undefined || stdout === '') throw error;
    return stdout;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
