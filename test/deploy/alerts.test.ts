/** The alerting rules speak of metrics and labels that the server has. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parse } from 'yaml';
import { Telemetry } from '../../src/telemetry';

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string };
}
const file = resolve(__dirname, '../../deploy/prometheus/alerts.yaml');
const { groups } = parse(readFileSync(file, 'utf8')) as { groups: { rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);

it('every metric of an alert is one of the server, with the labels that its text uses', async () => {
  const metrics = await new Telemetry().registry.getMetricsAsJSON();
  const known = new Map(metrics.map(({ name }) => [name, name]));
  for (const { name, type } of metrics) {
    // What a histogram is scraped as.
    if (String(type) === 'histogram') for (const suffix of ['bucket', 'sum', 'count']) known.set(`${name}_${suffix}`, name);
  }
  expect(rules.length).toBeGreaterThan(10);
  for (const { alert, expr, labels, annotations } of rules) {
    const named = expr.match(/thermocline_\w+/g) ?? [];
    expect([alert, named.length]).toEqual([alert, 1]);
    expect([alert, known.get(named[0]!) ?? `${named[0]} is no metric`]).toEqual([alert, known.get(named[0]!)]);
    expect(['warning', 'critical']).toContain(labels.severity);
    expect(annotations.summary).not.toBe('');
    const text = readFileSync(resolve(__dirname, '../../src/telemetry.ts'), 'utf8');
    const name = known.get(named[0]!)!.replace('thermocline_', '');
    const declared = text.slice(text.indexOf(`'${name}'`)).match(/\[([^\]]*)\]/)?.[1] ?? '';
    for (const [, label] of annotations.summary.matchAll(/\$labels\.(\w+)/g))
      expect([alert, declared]).toEqual([alert, expect.stringContaining(`'${label}'`)]);
  }
});

it('no alert has the name of another', () => {
  expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
});
