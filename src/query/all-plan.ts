/**
 * What a question over both tiers needs of the hot one, found in its text: tables, columns and time. Pure, and on the safe side: more
 * columns or time than the query uses cost time only.
 */
import { asBytes, fromBytes, sqlTokens, type Token } from '../core/sql-tokens';
import type { TableSchema } from '../core/table-schema';

/** What must hold for a row, against a constant ClickHouse expression: the time is at least or at most, a text column is equal. */
export interface Bound {
  readonly kind: 'from' | 'to' | 'equal';
  readonly column: string;
  readonly expression: string;
}

export interface TableUse {
  readonly schema: TableSchema;
  /** Columns of the schema that the query may read, with the time column. */
  readonly columns: readonly string[];
  readonly bounds: readonly Bound[];
}

/** A word of the query as it is written. */
interface Word extends Token {
  /** A name's own text, undefined for what is no name. */
  readonly name: string | undefined;
}

function wordsOf(query: string): { bytes: string; words: Word[] } {
  const bytes = asBytes(query);
  const words = [...sqlTokens(bytes)].map((token): Word => {
    const text = token.kind === 'word' ? bytes.slice(token.start, token.end) : token.text;
    return { ...token, name: token.kind === 'word' || token.kind === 'quoted' ? fromBytes(text) : undefined };
  });
  return { bytes, words };
}

/** The tables that the query names, of those that are there. Throws RangeError for a name with a database in front, which is one tier's. */
export function tablesOf(query: string, tables: readonly TableSchema[]): TableUse[] {
  const { bytes, words } = wordsOf(query);
  const names = new Set(words.map(({ name }) => name));
  const known = new Set<string>(tables.map(({ table }) => table));
  const qualified = words.find(({ name }, at) => name !== undefined && known.has(name) && words[at - 1]?.text === '.');
  if (qualified !== undefined) throw new RangeError(`name ${qualified.name} without a database`);
  const used = tables.filter(({ table }) => names.has(table));
  return used.map((schema) => ({
    schema,
    columns: usedColumns(words, names, schema),
    bounds: used.length === 1 ? boundsOf(bytes, words, schema) : [],
  }));
}

function usedColumns(words: readonly Word[], names: ReadonlySet<string | undefined>, schema: TableSchema): string[] {
  const all = words.some((_, at) => isEveryColumn(words, at));
  return schema.columns.map(({ name }) => name).filter((name) => all || names.has(name) || name === schema.timeColumn);
}

/** `SELECT *`, `t.*`, `COLUMNS('...')`, but neither `count(*)` nor a product. */
function isEveryColumn(words: readonly Word[], at: number): boolean {
  const { kind, text } = words[at];
  if (kind === 'word') return text === 'COLUMNS';
  if (kind !== 'punctuation' || text !== '*') return false;
  const before = words[at - 1];
  if (before === undefined) return true;
  if (before.text === '(' && before.kind === 'punctuation') return words[at - 2]?.text !== 'COUNT';
  const isOperand = before.kind === 'quoted' || before.kind === 'string' || [')', ']'].includes(before.text);
  return !isOperand && (before.kind === 'punctuation' || ['SELECT', 'DISTINCT', 'ALL'].includes(before.text));
}

const CLAUSE_ENDS = new Set([
  'GROUP',
  'ORDER',
  'LIMIT',
  'HAVING',
  'SETTINGS',
  'WINDOW',
  'QUALIFY',
  'OFFSET',
  'FORMAT',
  'INTO',
  'FETCH',
]);
/** Where one of these stands, a condition may not hold for each row that is read. */
const UNCERTAIN = new Set(['JOIN', 'UNION', 'EXCEPT', 'INTERSECT', 'WITH']);

/** Bounds in the conditions that every row of a simple query must fulfil: one SELECT, one table, ANDs. */
function boundsOf(bytes: string, words: readonly Word[], schema: TableSchema): Bound[] {
  const selects = words.filter(({ kind, text }) => kind === 'word' && text === 'SELECT');
  const isUncertain = words.some(({ kind, text }) => kind === 'word' && UNCERTAIN.has(text));
  if (selects.length !== 1 || isUncertain) return [];
  const aliases = new Set(words.filter((_, at) => words[at - 1]?.text === 'AS').map(({ name }) => name));
  return whereClauses(words).flatMap((clause) =>
    conjuncts(clause)
      .filter(([column]) => !aliases.has(column?.name))
      .flatMap((condition) => boundOf(bytes, condition, schema)),
  );
}

/** The words of WHERE and PREWHERE outside of brackets. */
function whereClauses(words: readonly Word[]): Word[][] {
  const clauses: Word[][] = [];
  let open: Word[] | undefined;
  for (const word of words) {
    const isClause = word.depth === 0 && word.kind === 'word';
    if (isClause && (word.text === 'WHERE' || word.text === 'PREWHERE')) {
      open = [];
      clauses.push(open);
    } else if (isClause && CLAUSE_ENDS.has(word.text)) open = undefined;
    else open?.push(word);
  }
  return clauses;
}

/** What is joined by AND outside of brackets; none where anything else joins conditions. */
function conjuncts(clause: readonly Word[]): Word[][] {
  const parts: Word[][] = [[]];
  let between = false;
  for (const word of clause) {
    const operator = word.depth === 0 && word.kind === 'word' ? word.text : '';
    if (operator === 'OR' || operator === 'XOR' || (word.kind === 'punctuation' && word.text === '?')) return [];
    if (operator === 'BETWEEN') between = true;
    if (operator === 'AND' && !between) {
      parts.push([]);
      continue;
    }
    if (operator === 'AND') between = false;
    parts.at(-1)!.push(word);
  }
  return parts;
}

const COMPARISONS = new Set(['IS', 'IN', 'GLOBAL', 'NOT', 'LIKE', 'ILIKE', 'REGEXP', 'BETWEEN', 'MOD', 'DIV']);

/** Of `time > X = 0` the right side is not `X = 0`. */
const isComparison = ({ kind, text, depth }: Word): boolean =>
  depth === 0 && ((kind === 'punctuation' && '=<>!?:'.includes(text)) || (kind === 'word' && COMPARISONS.has(text)));

/** `time >= X`, `time < X`, `time = X`, `time BETWEEN X AND Y`, `text = X` with constants. */
function boundOf(bytes: string, condition: readonly Word[], schema: TableSchema): Bound[] {
  const [left, first, second] = condition;
  const column = schema.columns.find(({ name }) => name === left?.name);
  if (column === undefined || first === undefined) return [];
  const { name } = column;
  const isTime = name === schema.timeColumn;
  if (!isTime && column.type !== 'string') return [];
  const columns = new Set(schema.columns.map((other) => other.name));
  const bound = (kind: Bound['kind'], words: readonly Word[]): Bound[] => {
    const isConstant = words.length > 0 && !words.some((word) => columns.has(word.name ?? '') || isComparison(word));
    if (!isConstant) return [];
    return [{ kind, column: name, expression: fromBytes(bytes.slice(words[0].start, words.at(-1)!.end)) }];
  };
  const bounds = (from: readonly Word[], to: readonly Word[]): Bound[] => [...bound('from', from), ...bound('to', to)];
  if (isTime && first.text === 'BETWEEN') {
    const and = condition.findIndex(({ text, kind, depth }) => kind === 'word' && text === 'AND' && depth === 0);
    return bounds(condition.slice(2, and), condition.slice(and + 1));
  }
  if (first.kind !== 'punctuation') return [];
  const isTwo = second?.kind === 'punctuation' && (second.text === '=' || second.text === '>');
  const operator = isTwo ? first.text + second.text : first.text;
  const value = condition.slice(isTwo ? 3 : 2);
  if (operator === '=' || operator === '==') return isTime ? bounds(value, value) : bound('equal', value);
  if (!isTime) return [];
  if (operator === '>' || operator === '>=') return bound('from', value);
  return operator === '<' || operator === '<=' ? bound('to', value) : [];
}
