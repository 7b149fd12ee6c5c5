/** How the schema registry, the stores' tables and the adapters meet: part of the composition root. */
import type { DryRunStores } from './adapters/dry-run';
import type { RestAdapterOptions } from './adapters/rest/adapter';
import type { SharedRegistry, StoreTables } from './core/schema-registry';
import type { Sink } from './core/sink';
import { SchemaReconciler } from './registry/reconcile';
import type { FileRegistry } from './registry/registry';
import type { Logger } from './telemetry';
import type { Router } from './tiering/routing';

export interface SchemaParts {
  readonly registry: FileRegistry;
  readonly sinks: readonly Sink[];
  /** The sinks' tables, and the registry that servers share; none without stores. */
  readonly tables: readonly StoreTables[];
  readonly shared: SharedRegistry | undefined;
  readonly router: Router;
  readonly logger: Logger;
}

/** Starts to keep registry and stores alike. Gives what adapters need of it, and what ends it. */
export function startSchemas(parts: SchemaParts): {
  readonly stores: DryRunStores;
  readonly ensureTable: RestAdapterOptions['ensureTable'];
  stop(): Promise<void>;
} {
  const { registry, sinks, tables, shared, router, logger } = parts;
  const stores: DryRunStores = { stores: tables, tiersOf: router.tiersOf.bind(router) };
  if (shared === undefined) return { stores, ensureTable: undefined, stop: () => Promise.resolve() };
  const reconciler = new SchemaReconciler({ registry, shared, sinks, logger });
  reconciler.start();
  return { stores, ensureTable: reconciler.ensureTable.bind(reconciler), stop: () => reconciler.stop() };
}
