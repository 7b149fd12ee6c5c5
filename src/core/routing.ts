/** What the routing of rows is told: rules by signal, table, severity and labels. */
import type { Signal } from './builtin-tables';
import type { Tier } from './table-schema';

/** The first number of each severity in OTLP's SeverityNumber (logs data model, "Severity Fields"). */
export const SEVERITY_NUMBERS = { trace: 1, debug: 5, info: 9, warn: 13, error: 17, fatal: 21 } as const;
export type SeverityName = keyof typeof SEVERITY_NUMBERS;

/** What a row must hold; a condition that is absent holds for every row. */
export interface RowConditions {
  /** At least this severity. A row that tells none has none. */
  readonly severity?: SeverityName | undefined;
  /** By label: any of these texts, in which `*` stands for any characters. */
  readonly labels?: Readonly<Record<string, readonly string[]>> | undefined;
}

/** Where the rows go that fulfil all conditions. */
export interface RoutingRule extends RowConditions {
  readonly signal?: Signal | undefined;
  readonly tables?: readonly string[] | undefined;
  /** None: the dead letters. */
  readonly tiers: readonly Tier[];
}

/** Tiers by signal, and rules that come before them; of these the first that a row fulfils counts. */
export interface RoutingConfig extends Readonly<Record<Signal, readonly Tier[]>> {
  readonly rules: readonly RoutingRule[];
}
