/** What makes the partitions of new hot tables. `auto`: TimescaleDB where it is installed, otherwise native partitions of our own. */
export const PARTITIONING = ['auto', 'native', 'partman'] as const;
export type Partitioning = (typeof PARTITIONING)[number];
