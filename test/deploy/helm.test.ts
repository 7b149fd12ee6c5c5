import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Script } from 'node:vm';
import { parse } from 'yaml';
import { CHART, helm, type Manifest, render } from './support/helm';
import { checkTypes, unknownFields } from './support/kubernetes';

type Values = Record<string, unknown>;
const STORES = { postgres: { url: 'postgres://u:p@pg:5432/t' }, clickhouse: { url: 'http://u:p@ch:8123/t' } };
const EXAMPLES = readdirSync(join(CHART, 'ci')).map((file) => ({
  file,
  values: parse(readFileSync(join(CHART, 'ci', file), 'utf8')) as Values,
}));
const example = (name: string) => EXAMPLES.find(({ file }) => file === `${name}-values.yaml`)!.values;

interface Labels {
  readonly [key: string]: string;
}
interface Container {
  readonly args: string[];
  readonly command: string[];
  readonly ports: { name: string; containerPort: number }[];
  readonly volumeMounts: { name: string; mountPath: string }[];
  readonly lifecycle?: { preStop: { exec: { command: string[] } } };
  readonly [probe: string]: unknown;
}
interface PodSpec {
  readonly containers: [Container];
  readonly terminationGracePeriodSeconds: number;
  readonly enableServiceLinks: boolean;
  readonly volumes: { name: string }[];
}
interface StatefulSetSpec {
  readonly replicas: number;
  readonly serviceName: string;
  readonly selector: { matchLabels: Labels };
  readonly template: { metadata: { labels: Labels; annotations: Labels }; spec: PodSpec };
  readonly volumeClaimTemplates: { metadata: { name: string } }[];
}
interface ServiceSpec {
  readonly selector: Labels;
  readonly ports: { name: string; port: number; targetPort: string }[];
}

const ofKind = (manifests: readonly Manifest[], kind: string) => manifests.filter((manifest) => manifest.kind === kind);
// eslint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller knows what the kind holds
const spec = <T>(manifest: Manifest | undefined) => manifest?.['spec'] as T;
const statefulSet = (manifests: readonly Manifest[]) => spec<StatefulSetSpec>(ofKind(manifests, 'StatefulSet')[0]);
const matches = (selector: Labels, labels: Labels = {}) =>
  Object.entries(selector).every(([key, value]) => labels[key] === value);

const annotationsOf = (values: Values) => statefulSet(render(values)).template.metadata.annotations;
const imageOf = (values: Values) => statefulSet(render(values)).template.spec.containers[0]['image'];
/** The tier in which the smoke test would look. */
const smokeTier = (config: Values) => {
  const [pod] = ofKind(render({ ...STORES, config }), 'Pod');
  const env = spec<{ containers: [{ env: { name: string; value: string }[] }] }>(pod).containers[0].env;
  return env.find(({ name }) => name === 'TIER')?.value;
};

describe.each(EXAMPLES)('the chart with ci/$file', ({ values }) => {
  const manifests = render(values);

  it('passes helm lint without a warning', () => {
    const result = helm(['lint', '--strict', CHART], values);
    expect(result.text).not.toMatch(/\[(WARNING|ERROR)\]/);
    expect(result.ok).toBe(true);
  });

  it('renders manifests that the Kubernetes schemas accept, without a field they do not know', () => {
    expect(manifests.length).toBeGreaterThan(6);
    checkTypes(manifests);
    expect(unknownFields(manifests)).toBe('');
  });

  it('selects the server pods, and never the smoke test, from every service, budget and policy', () => {
    const server = statefulSet(manifests);
    const pod = server.template.metadata.labels;
    const smoke = ofKind(manifests, 'Pod')[0]?.metadata.labels;
    const selectors = [
      server.selector.matchLabels,
      ...ofKind(manifests, 'Service').map((service) => spec<ServiceSpec>(service).selector),
      ...ofKind(manifests, 'PodDisruptionBudget').map((budget) => spec<StatefulSetSpec>(budget).selector.matchLabels),
      ...ofKind(manifests, 'NetworkPolicy').map(
        (policy) => spec<{ podSelector: { matchLabels: Labels } }>(policy).podSelector.matchLabels,
      ),
    ];
    expect(selectors.length).toBeGreaterThanOrEqual(5);
    for (const selector of selectors) expect([matches(selector, pod), matches(selector, smoke)]).toEqual([true, false]);
  });

  it('points services and probes at ports that the container has', () => {
    const [container] = statefulSet(manifests).template.spec.containers;
    const names = container.ports.map(({ name }) => name);
    expect(names).toEqual(['grpc', 'http', 'admin']);
    for (const service of ofKind(manifests, 'Service')) {
      for (const { targetPort, port } of spec<ServiceSpec>(service).ports) {
        expect(container.ports.find(({ name }) => name === targetPort)?.containerPort).toBe(port);
      }
    }
    for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) {
      const { httpGet } = container[probe] as { httpGet: { path: string; port: string } };
      expect(httpGet).toEqual({ path: probe === 'readinessProbe' ? '/readyz' : '/healthz', port: 'admin' });
    }
  });

  it('gives every replica its own WAL volume, a stable name and no variables of other services', () => {
    const server = statefulSet(manifests);
    const { containers, volumes, enableServiceLinks } = server.template.spec;
    expect(ofKind(manifests, 'Service').map(({ metadata }) => metadata.name)).toContain(server.serviceName);
    expect(server.volumeClaimTemplates.map(({ metadata }) => metadata.name)).toEqual(['wal']);
    expect(containers[0].volumeMounts).toContainEqual({ name: 'wal', mountPath: '/var/lib/thermocline' });
    const mountable = new Set(['wal', ...volumes.map(({ name }) => name)]);
    for (const { name } of containers[0].volumeMounts) expect(mountable).toContain(name);
    expect(enableServiceLinks).toBe(false);
  });

  it('carries a smoke test that Node can parse and that Kubernetes does not rewrite', () => {
    const [container] = spec<PodSpec>(ofKind(manifests, 'Pod')[0]).containers;
    const script = container.args[0];
    expect(container.command).toEqual(['node', '-e']);
    expect(() => new Script(script)).not.toThrow();
    expect(script).not.toContain('$('); // Kubernetes would expand $(NAME)
    expect(script.trim()).toBe(readFileSync(join(CHART, 'files/smoke.js'), 'utf8').trim());
  });
});

describe('the chart', () => {
  it('gives a pod longer to stop than its drain may take', () => {
    const server = statefulSet(render({ ...STORES, config: { shutdown_grace_ms: 90_500 }, preStopSeconds: 20 })).template.spec;
    expect(server.terminationGracePeriodSeconds).toBe(20 + 91 + 10);
    expect(server.containers[0].lifecycle?.preStop.exec.command.at(-1)).toBe('setTimeout(() => undefined, 20000)');
    expect(statefulSet(render(STORES)).template.spec.terminationGracePeriodSeconds).toBe(5 + 25 + 10);
    expect(
      statefulSet(render({ ...STORES, terminationGracePeriodSeconds: 300 })).template.spec.terminationGracePeriodSeconds,
    ).toBe(300);
  });

  it('restarts pods when the configuration or a store URL changes, and not otherwise', () => {
    const base = annotationsOf(STORES);
    expect(annotationsOf({ ...STORES, podDisruptionBudget: { enabled: false } })).toEqual(base);
    expect(annotationsOf({ ...STORES, config: { log_level: 'debug' } })['checksum/config']).not.toBe(base['checksum/config']);
    expect(annotationsOf({ ...STORES, clickhouse: { url: 'http://other:8123' } })['checksum/stores']).not.toBe(
      base['checksum/stores'],
    );
  });

  it('keeps a URL with any character exactly as it was given', () => {
    const url = 'postgres://user:p%40"\\{{x}}\'#:$$y@pg:5432/t?sslmode=verify-full&a=b';
    const [secret] = ofKind(render({ ...STORES, postgres: { url } }), 'Secret');
    expect(secret?.['stringData']).toEqual({ 'postgres-url': url, 'clickhouse-url': STORES.clickhouse.url });
  });

  it('makes no Secret when both URLs come from an existing one', () => {
    expect(ofKind(render(example('ha')), 'Secret')).toEqual([]);
  });

  it('uses the all-in-one image for embedded stores and the digest where one is given', () => {
    expect(imageOf(example('embedded'))).toBe('thermocline:0.1.0-all-in-one');
    expect(imageOf(STORES)).toBe('thermocline:0.1.0');
    expect(imageOf(example('ha'))).toMatch(/^images\.example\.com\/thermocline@sha256:/);
  });

  it('opens the data ports to the clients and the admin port to the admins of a network policy', () => {
    const [policy] = ofKind(render(example('ha')), 'NetworkPolicy');
    const { ingress } = spec<{ ingress: { ports: { port: string }[]; from: unknown[] }[] }>(policy);
    expect(ingress.map(({ ports }) => ports.map(({ port }) => port))).toEqual([['grpc', 'http'], ['admin']]);
    const { clients, admins } = example('ha')['networkPolicy'] as { clients: unknown[]; admins: unknown[] };
    expect(ingress.map(({ from }) => from)).toEqual([clients, admins]);
  });

  it('lets Prometheus find the admin service and no other', () => {
    const manifests = render(example('ha'));
    const { selector } = spec<StatefulSetSpec>(ofKind(manifests, 'ServiceMonitor')[0]);
    const found = ofKind(manifests, 'Service').filter(({ metadata }) => matches(selector.matchLabels, metadata.labels));
    expect(found.map(({ metadata }) => metadata.name)).toEqual(['demo-thermocline-admin']);
  });

  it('looks for the smoke row in the tier that logs are routed to', () => {
    expect(smokeTier({})).toBe('cold');
    expect(smokeTier({ routing: { logs: 'hot' } })).toBe('hot');
    expect(smokeTier({ routing: { logs: ['hot', 'cold'] } })).toBe('cold');
    expect(smokeTier({ sinks: 'none' })).toBe('none');
  });

  it('keeps names within what Kubernetes allows for a long release name', () => {
    const manifests = render(STORES, 'a'.repeat(53));
    for (const { metadata } of manifests) expect(metadata.name.length).toBeLessThanOrEqual(63);
    checkTypes(manifests);
  });

  it.each<[string, Values, RegExp]>([
    ['no store', {}, /set postgres\.url or postgres\.existingSecret\.name, or embedded\.enabled=true/],
    ['one store', { postgres: STORES.postgres }, /set clickhouse\.url or/],
    ['a URL and a Secret', { ...STORES, postgres: { url: 'postgres://a', existingSecret: { name: 'x' } } }, /not both/],
    ['embedded and given stores', { ...STORES, embedded: { enabled: true } }, /starts its own stores/],
    ['two embedded replicas', { embedded: { enabled: true }, replicas: 2 }, /allows one replica/],
    ['a grace period below the drain', { ...STORES, terminationGracePeriodSeconds: 39 }, /a drain may take 40 s/],
    ['the same port twice', { ...STORES, ports: { http: 4317 } }, /must differ/],
    [
      'limits that contradict',
      { ...STORES, config: { in_flight_bytes_max: 1000, request_bytes_max: 2000 } },
      /must not be below/,
    ],
    ['an unknown key', { ...STORES, replicaCount: 2 }, /replicaCount/],
    ['an unknown key of the configuration', { ...STORES, config: { wal: { segment_size: 1 } } }, /segment_size/],
    ['a key that the chart sets itself', { ...STORES, config: { grpc_port: 4317 } }, /grpc_port/],
    ['a wrong type', { ...STORES, replicas: 'two' }, /replicas/],
    ['a wrong scheme', { ...STORES, clickhouse: { url: 'tcp://ch:9000' } }, /clickhouse\/url/],
    ['a privileged port', { ...STORES, ports: { http: 80 } }, /ports\/http/],
    ['a shared WAL volume', { ...STORES, persistence: { accessModes: ['ReadWriteMany'] } }, /accessModes/],
    ['a truncated digest', { ...STORES, image: { digest: 'sha256:12' } }, /digest/],
  ])('refuses %s', (_what, values, message) => {
    expect(() => render(values)).toThrow(message);
  });
});

describe('the check of unknown fields', () => {
  it('finds a misspelt field that the schemas accept', () => {
    const manifests = render(STORES);
    const server = structuredClone(ofKind(manifests, 'StatefulSet')[0]);
    (statefulSet([server]).template.spec as unknown as Values)['terminationGracePeriod'] = 1;
    checkTypes([server]);
    expect(unknownFields([server])).toMatch(/terminationGracePeriod.* does not exist in type 'IPodSpec'/);
  });
});
