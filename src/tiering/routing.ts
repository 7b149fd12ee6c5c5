/** Where rows go when they arrive: the first rule that a row fulfils, or else the tiers of its signal or the home of its table. */
import type { RecordBatch } from 'apache-arrow';
import { cutRows } from '../columnar/cut';
import type { TableBatch } from '../core/batch';
import { signalOf } from '../core/builtin-tables';
import type { TableName } from '../core/ids';
import type { RoutedBatch } from '../core/ingest';
import type { RoutingConfig, RoutingRule } from '../core/routing';
import type { TableSchema, Tier } from '../core/table-schema';
import { rowTest } from './match-rows';

const TIERS: readonly Tier[] = ['cold', 'hot'];

/** Some rows of a batch and the rule that they follow: a position in the configured rules, undefined for none. */
export interface RuledBatch extends RoutedBatch {
  readonly rule: number | undefined;
}

export class Router {
  constructor(
    private readonly config: RoutingConfig,
    private readonly schemaOf: (table: TableName) => TableSchema | undefined,
  ) {}

  /** The rows of a batch by the tiers that they go to, in row order within each; no row is left out. */
  readonly route = (batch: TableBatch): readonly RoutedBatch[] => {
    const { table, schemaVersion, batch: rows } = batch;
    if (this.config.rules.length === 0) return [{ table, schemaVersion, batch: rows, tiers: this.home(table) }];
    if (this.rulesFor(table).length === 0) return [{ ...batch, tiers: this.home(table) }];
    return this.cut(batch, (rule) => this.tiersBy(table, rule).join(','));
  };

  /** As `route`, but by the rule that they follow. */
  explain(batch: TableBatch): readonly RuledBatch[] {
    return this.cut(batch, (rule) => String(this.positionOf(rule)));
  }

  /** Every tier that some of these rows of a table go to; its home when there are none. The schema may not be in force yet. */
  tiersOf(schema: TableSchema, batches: readonly TableBatch[]): readonly Tier[] {
    const router = new Router(this.config, (table) => (table === schema.table ? schema : this.schemaOf(table)));
    const tiers = batches.flatMap((batch) => router.route(batch).flatMap((routed) => routed.tiers));
    return tiers.length === 0 ? router.home(schema.table) : [...new Set(tiers)];
  }

  /** Rows that no rule is about. */
  home(table: TableName): readonly Tier[] {
    const signal = signalOf(table);
    return signal === undefined ? [this.schemaOf(table)?.tier ?? 'hot'] : this.config[signal];
  }

  /** Can a row of the table go to both tiers? */
  everInBoth(table: TableName): boolean {
    return [this.home(table), ...this.rulesFor(table).map(({ tiers }) => tiers)].some((tiers) => tiers.length > 1);
  }

  /**
   * Where each row of a table is found once: in `both` tiers, each row in one of them; in the tier that has all rows of a table of which
   * some go to both; undefined when some rows are in both and no tier has all.
   */
  onceIn(table: TableName): Tier | 'both' | undefined {
    if (!this.everInBoth(table)) return 'both';
    const all = [this.home(table), ...this.rulesFor(table).map(({ tiers }) => tiers)];
    return TIERS.find((tier) => all.every((tiers) => tiers.length === 0 || tiers.includes(tier)));
  }

  private cut(batch: TableBatch, groupOf: (rule: RoutingRule | undefined) => string): readonly RuledBatch[] {
    const groups = new Map<string, { rule: RoutingRule | undefined; rows: number[] }>();
    const rules = this.rulesFor(batch.table);
    for (const [at, rows] of rowsByRule(rules, batch.batch, this.schemaOf(batch.table)).entries()) {
      if (rows.length === 0) continue;
      const rule = rules[at] as RoutingRule | undefined;
      const key = groupOf(rule);
      const group = groups.get(key);
      if (group === undefined) groups.set(key, { rule, rows });
      else group.rows = [...group.rows, ...rows].sort((a, b) => a - b);
    }
    return [...groups.values()].map(({ rule, rows }) => ({
      ...batch,
      batch: rows.length === batch.batch.numRows ? batch.batch : cutRows(batch.batch, rows),
      tiers: this.tiersBy(batch.table, rule),
      rule: this.positionOf(rule),
    }));
  }

  private positionOf(rule: RoutingRule | undefined): number | undefined {
    return rule === undefined ? undefined : this.config.rules.indexOf(rule);
  }

  private tiersBy(table: TableName, rule: RoutingRule | undefined): readonly Tier[] {
    return rule?.tiers ?? this.home(table);
  }

  /** The rules that may be about rows of a table. */
  private rulesFor(table: TableName): readonly RoutingRule[] {
    const signal = signalOf(table);
    return this.config.rules.filter((rule) => (rule.signal ?? signal) === signal && (rule.tables?.includes(table) ?? true));
  }
}

/** For each rule the rows that it is the first to be about, and at last those that are left; rows in order. */
function rowsByRule(rules: readonly RoutingRule[], batch: RecordBatch, schema: TableSchema | undefined): number[][] {
  const tests = rules.map((rule) => rowTest(rule, batch, schema));
  const rows: number[][] = Array.from({ length: rules.length + 1 }, () => []);
  for (let row = 0; row < batch.numRows; row++) {
    const first = tests.findIndex((test) => test(row));
    rows[first < 0 ? rules.length : first].push(row);
  }
  return rows;
}
