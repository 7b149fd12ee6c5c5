/** Tables of a cluster with shards: rows lie in a local table on each, and a Distributed table of the plain name reads all of them. */

import { identifier, literal, qualified } from '../../core/clickhouse-sql';
import type { DdlOptions } from './ddl-options';

/** What every statement of a cluster is run on. */
export const onCluster = ({ cluster }: Pick<DdlOptions, 'cluster'>): string =>
  cluster === undefined ? '' : ` ON CLUSTER ${identifier(cluster)}`;

/** The table that holds the rows of one server. No table from outside can have such a name. */
export const localTable = (table: string, { distributed }: Pick<DdlOptions, 'distributed'>): string =>
  distributed === true ? `_local_${table}` : table;

/** A MergeTree engine such as `AggregatingMergeTree`, replicated where that is configured. `parameters`: of the engine itself. */
export function mergeTree(
  kind: string,
  { replicated }: Pick<DdlOptions, 'replicated'>,
  parameters: readonly string[] = [],
): string {
  const all = replicated === undefined ? parameters : [literal(replicated.path), literal(replicated.replica), ...parameters];
  return `${replicated === undefined ? '' : 'Replicated'}${kind}${all.length === 0 ? '' : `(${all.join(', ')})`}`;
}

/** Makes the table over all shards anew, with the columns that the local one has by now. */
export function createDistributed(table: string, options: DdlOptions): string {
  const { database, cluster } = options;
  if (cluster === undefined) throw new RangeError('distributed tables need the name of a cluster');
  const local = localTable(table, options);
  const parameters = [identifier(cluster), identifier(database), identifier(local), 'rand()'].join(', ');
  return (
    `CREATE OR REPLACE TABLE ${qualified(database, table)}${onCluster(options)} AS ${qualified(database, local)} ` +
    `ENGINE = Distributed(${parameters})`
  );
}

/** All rows of a table or view, wherever they lie: to be put after FROM. */
export function everywhere(name: string, { database, cluster, distributed }: DdlOptions): string {
  if (distributed !== true || cluster === undefined) return qualified(database, name);
  return `cluster(${literal(cluster)}, ${identifier(database)}, ${identifier(name)})`;
}
