/**
 * `config check --sample FILE`: where the rows of a file would go, by the rules of a configuration. Nothing is started or stored.
 *
 * One JSON document a line (or one in the whole file), each of
 * - an OTLP/JSON request: `resourceLogs`, `resourceMetrics` or `resourceSpans`, as the Collector's file exporter writes them
 * - `{"table":"orders","rows":[{...}]}`, as `POST /write/orders` would get the rows
 * and beside it, if wished, `"expect":["hot"]`: tiers to which all its rows must go, no others.
 */
import { readFile } from 'node:fs/promises';
import { OTLP_DECODERS } from '../adapters/otlp/decoders';
import { decodeJsonRows } from '../adapters/rest/decode-json';
import { inferColumns } from '../adapters/rest/infer';
import { checkTableName, planWrite } from '../adapters/schema-on-write';
import type { Config } from '../config';
import type { DecodedRequest } from '../core/batch';
import { BUILTIN_TABLES, type Signal } from '../core/builtin-tables';
import { IngestError } from '../core/errors';
import type { TableName } from '../core/ids';
import type { Registry } from '../core/ingest';
import type { TableSchema } from '../core/table-schema';
import { evolveSchema } from '../registry/evolve';
import { Router } from '../tiering/routing';

const OTLP_ROOTS: Readonly<Record<string, Signal>> = {
  resourceLogs: 'logs',
  resourceMetrics: 'metrics',
  resourceSpans: 'traces',
};

const DEAD_LETTERS = 'dead_letters';

interface Sample extends Readonly<Record<string, unknown>> {
  readonly expect?: unknown;
}

/** What would become of a file. */
export interface SampleReport {
  /** One line for each document and rule. */
  readonly lines: readonly string[];
  /** Documents whose rows would go elsewhere than expected, or would be rejected. */
  readonly failures: number;
}

/** Throws Error for a file that cannot be read, naming the line. */
export async function checkSample(path: string, routing: Config['routing']): Promise<SampleReport> {
  const lines: string[] = [];
  let failures = 0;
  for (const { place, sample } of samplesOf(await readFile(path, 'utf8'))) {
    try {
      const { text, isExpected } = judge(sample, routing);
      lines.push(...text.map((line) => `${place}: ${line}`));
      if (!isExpected) failures++;
    } catch (error) {
      throw new Error(`${path}: ${place}: ${IngestError.from(error).message}`, { cause: error });
    }
  }
  return { lines, failures };
}

function samplesOf(text: string): { place: string; sample: Sample }[] {
  try {
    return [{ place: 'document 1', sample: JSON.parse(text) as Sample }];
  } catch {
    // More than one document, or none that can be read: the line at fault is named below.
  }
  return text.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return [];
    const place = `line ${i + 1}`;
    try {
      return [{ place, sample: JSON.parse(line) as Sample }];
    } catch (error) {
      throw new Error(`${place} is not JSON: ${(error as Error).message}`, { cause: error });
    }
  });
}

function judge(sample: Sample, routing: Config['routing']): { text: string[]; isExpected: boolean } {
  const { decoded, schema } = decode(sample);
  const router = new Router(routing, (table) => (table === schema?.table ? schema : undefined));
  const seen = new Set<string>();
  const text = decoded.batches.flatMap((batch) =>
    router.explain(batch).map(({ batch: rows, tiers, rule }) => {
      for (const place of tiers.length === 0 ? [DEAD_LETTERS] : tiers) seen.add(place);
      const by = rule === undefined ? 'no rule' : `rule ${rule + 1}`;
      return `${batch.table}: ${rows.numRows} row${rows.numRows === 1 ? '' : 's'} -> ${tiers.join(', ') || DEAD_LETTERS} (${by})`;
    }),
  );
  for (const { row, column, message } of decoded.rejections)
    text.push(`row ${row}${column === undefined ? '' : `, column ${column}`}: rejected, ${message}`);
  const expected = expectedTiers(sample.expect);
  const isExpected =
    decoded.rejectedRows === 0 && (expected === undefined || [...seen].sort().join() === [...expected].sort().join());
  if (!isExpected && expected !== undefined) text.push(`expected ${expected.join(', ')}`);
  return { text, isExpected };
}

function expectedTiers(expect: unknown): string[] | undefined {
  if (expect === undefined) return undefined;
  const list = typeof expect === 'string' ? expect.split(',').map((tier) => tier.trim()) : expect;
  if (Array.isArray(list) && list.every((place) => ['hot', 'cold', DEAD_LETTERS].includes(place as string)))
    return list as string[];
  throw new IngestError('invalid_argument', 'expect must be hot, cold, both or dead_letters');
}

function decode(sample: Sample): { decoded: DecodedRequest; schema: TableSchema | undefined } {
  if (typeof sample !== 'object' || sample === null) throw new IngestError('invalid_argument', 'a sample is a JSON object');
  const { expect: _, ...request } = sample;
  const root = Object.keys(OTLP_ROOTS).find((key) => Object.hasOwn(request, key));
  if (root !== undefined) {
    const decoder = OTLP_DECODERS[OTLP_ROOTS[root]];
    const body = decoder.transcode(Buffer.from(JSON.stringify(request)));
    return { decoded: decoder.decode(body, { arrivalNs: BigInt(Date.now()) * 1_000_000n }), schema: undefined };
  }
  const { table, rows } = request as { table?: unknown; rows?: unknown };
  if (typeof table !== 'string' || !Array.isArray(rows)) {
    throw new IngestError('invalid_argument', `a sample has table and rows, or one of ${Object.keys(OTLP_ROOTS).join(', ')}`);
  }
  const body = Buffer.from(JSON.stringify(rows));
  const plan = planWrite(NEW_TABLES, checkTableName(table), {
    infer: (known) => inferColumns(body, 'json', known),
    decode: (schema) => decodeJsonRows(body, 'json', schema, { arrivalNs: BigInt(Date.now()) * 1_000_000n }),
  });
  return { decoded: plan.decoded, schema: plan.schema };
}

const builtin = (table: TableName): TableSchema | undefined => BUILTIN_TABLES.find((schema) => schema.table === table);

/** A registry with the built-in tables: every other one is as its rows make it. */
const NEW_TABLES: Pick<Registry, 'get' | 'preview'> = {
  get: builtin,
  preview: (table, columns, options) => builtin(table) ?? evolveSchema(undefined, table, columns, options),
};
