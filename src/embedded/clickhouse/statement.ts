/**
 * How one statement is run. The engine's one-shot call holds a whole result in memory and takes INSERT data only as text, so:
 *
 *   SELECT ...                 ->  SELECT ... INTO OUTFILE '<file>' TRUNCATE FORMAT F      the answer is the file
 *   INSERT ... FORMAT F <data> ->  INSERT ... FROM INFILE '<file>' COMPRESSION 'none' FORMAT F   the data is the file
 *   INSERT ... SELECT ... FROM input('structure') FORMAT F <data>  ->  ... FROM file('<file>', 'F', 'structure')
 *
 * Everything else is passed as it is. Only positions of clauses are looked for; what is wrong stays wrong, and the engine says so.
 */

import { literal } from '../../core/clickhouse-sql';
import { asBytes, sqlTokens, type Token } from '../../core/sql-tokens';
import { refuse } from './exception';

/** Replace [start, end) of the text. */
export interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

export type Statement =
  | { readonly kind: 'empty' }
  /** Has a result that may be large. */
  | {
      readonly kind: 'select';
      readonly tokens: readonly Token[];
      readonly format: FormatClause | undefined;
      readonly end: number;
    }
  /** INSERT whose data begins at `dataAt`. */
  | InsertData
  | { readonly kind: 'kill'; readonly tokens: readonly Token[]; readonly end: number }
  | {
      readonly kind: 'other';
      readonly tokens: readonly Token[];
      readonly format: FormatClause | undefined;
      readonly end: number;
    };

export interface FormatClause {
  readonly name: string;
  /** Where the word FORMAT stands. */
  readonly at: number;
}

export interface InsertData {
  readonly kind: 'insert';
  readonly tokens: readonly Token[];
  readonly format: string;
  /** Where `FROM INFILE` goes: before SETTINGS, FORMAT or VALUES; undefined for the `input()` form. */
  readonly sourceAt: number | undefined;
  /** The `input('structure')` call, for INSERT ... SELECT. */
  readonly input: { readonly start: number; readonly end: number; readonly structure: string } | undefined;
  /** [start, end) of `FORMAT F` or `VALUES`. */
  readonly formatAt: number;
  readonly formatNameEnd: number;
  /** The same with the SETTINGS that may follow. */
  readonly formatEnd: number;
  readonly dataAt: number;
}

const SELECT_WORDS = new Set(['SELECT', 'WITH', 'FROM', '(']);
/** Words after which `format` is a name, not the clause. */
const NOT_BEFORE_FORMAT = new Set([
  'BY',
  'SELECT',
  'WHERE',
  'HAVING',
  'PREWHERE',
  'AND',
  'OR',
  'NOT',
  'AS',
  'ON',
  'WHEN',
  'THEN',
]);
const READ_WORDS = new Set([...SELECT_WORDS, 'SHOW', 'DESCRIBE', 'DESC', 'EXPLAIN', 'EXISTS', 'SET', 'USE', 'CHECK']);

/**
 * Reads a statement from the beginning of a request. `complete` says whether `text` is the whole request; when it is not,
 * the answer is undefined unless the beginning was enough (INSERT with data).
 */
export function readStatement(text: string, complete: boolean): Statement | undefined {
  const insert = readInsert(text, complete);
  if (insert !== undefined) return insert;
  if (!complete) return undefined;
  const tokens = [...sqlTokens(text)];
  const end = checkSingle(tokens, text.length);
  const own = tokens.filter((token) => token.start < end);
  if (own.length === 0) return { kind: 'empty' };
  const first = own[0].text;
  checkFiles(own);
  if (first === 'KILL' && own[1]?.text === 'QUERY') return { kind: 'kill', tokens: own, end };
  const format = findFormat(own);
  const writes = first === 'WITH' && own.some((token) => token.kind === 'word' && token.text === 'INSERT' && token.depth === 0);
  const kind = SELECT_WORDS.has(first) && !writes ? 'select' : 'other';
  return { kind, tokens: own, format, end };
}

/** True for what a read-only request may run; the engine checks it too, except in a session. */
export function onlyReads(statement: Statement): boolean {
  if (statement.kind !== 'other') return statement.kind === 'select';
  const unlocks = statement.tokens.some((token) => token.kind === 'word' && token.text === 'READONLY');
  return READ_WORDS.has(statement.tokens[0].text) && !unlocks;
}

/** The last statement may end with `;`; a second statement is refused as the server refuses it. */
function checkSingle(tokens: readonly Token[], length: number): number {
  const at = tokens.findIndex((token) => token.text === ';' && token.kind === 'punctuation' && token.depth === 0);
  if (at < 0) return length;
  const next = tokens.slice(at).find((token) => token.text !== ';');
  const end = tokens[at].start;
  if (next !== undefined) {
    throw refuse('SYNTAX_ERROR', `Syntax error (Multi-statements are not allowed): failed at position ${end + 1} (end of query)`);
  }
  return end;
}

/** In-process, the engine would open any file that this process can; a server confines them, so here they are refused. */
const FILE_CALLS = new Set(['FILE', 'FILECLUSTER', 'EXECUTABLE', 'EXECUTABLEPOOL', 'SQLITE', 'FILESYSTEM', 'FUZZJSON', 'DISK']);

function checkFiles(tokens: readonly Token[]): void {
  for (const [index, token] of tokens.entries()) {
    const next = tokens[index + 1];
    if (token.kind === 'word' && token.text === 'OUTFILE' && tokens[index - 1]?.text === 'INTO') {
      throw refuse('INTO_OUTFILE_NOT_ALLOWED', 'INTO OUTFILE is not allowed');
    }
    if (token.kind === 'word' && token.text === 'INFILE' && tokens[index - 1]?.text === 'FROM') {
      throw refuse('UNKNOWN_TYPE_OF_QUERY', 'Query has infile and was send directly to server');
    }
    const engine = tokens[index - 1]?.text === '=' && tokens[index - 2]?.text === 'ENGINE';
    const named = (token.kind === 'word' || token.kind === 'quoted') && FILE_CALLS.has(token.text.toUpperCase());
    if (named && (engine || (next?.text === '(' && next.kind === 'punctuation'))) {
      throw refuse('DATABASE_ACCESS_DENIED', `Access to files by ${token.text} is not allowed over HTTP`);
    }
  }
}

function findFormat(tokens: readonly Token[]): FormatClause | undefined {
  for (let index = tokens.length - 2; index > 0; index--) {
    const token = tokens[index];
    if (token.kind !== 'word' || token.text !== 'FORMAT' || token.depth !== 0) continue;
    const name = tokens[index + 1];
    const after = tokens[index + 2];
    const before = tokens[index - 1];
    const ends = after === undefined || (after.kind === 'word' && after.text === 'SETTINGS');
    const clause = before.kind === 'punctuation' ? ')]}*'.includes(before.text) : !NOT_BEFORE_FORMAT.has(before.text);
    if (ends && clause && name.kind === 'word') return { name: name.text, at: token.start };
  }
  return undefined;
}

/** INSERT with data, or undefined for any other statement (INSERT ... SELECT without `input()` is one). */
function readInsert(text: string, complete: boolean): InsertData | undefined {
  const tokens: Token[] = [];
  let selecting = false;
  for (const token of sqlTokens(text)) {
    // A word at the very end of a part may go on in the next one.
    if (!complete && token.end === text.length) return undefined;
    tokens.push(token);
    if (tokens.length === 1 && !(token.kind === 'word' && token.text === 'INSERT')) return undefined;
    if (token.depth !== 0 || tokens.length < 3) continue;
    const before = tokens.at(-2) as Token;
    if (before.kind === 'word' && before.text === 'FORMAT' && token.kind === 'word' && !isTableName(tokens)) {
      const input = selecting ? findInput(tokens) : undefined;
      if (selecting && input === undefined) continue;
      const end = endOfSettings(text, token.end);
      // The rest may begin in the next part: SETTINGS, or the line end before the data.
      if (!complete && end + 32 > text.length) return undefined;
      checkFiles(tokens);
      return insertData(text, tokens, before.start, token, end, input);
    }
    if (token.kind === 'punctuation' && token.text === ';') return undefined;
    if (token.kind !== 'word' || before.text === '.') continue;
    if (token.text === 'SELECT' || token.text === 'WITH') selecting = true;
    if (token.text === 'VALUES' && !selecting && before.text !== 'INTO' && before.text !== 'TABLE') {
      checkFiles(tokens);
      return insertData(text, tokens, token.start, undefined, token.end, undefined);
    }
  }
  return undefined;
}

/** `FORMAT` as the name of the table that an INSERT names. */
function isTableName(tokens: readonly Token[]): boolean {
  return ['INTO', 'TABLE', '.'].includes(tokens.at(-3)?.text ?? '');
}

/** The end of `SETTINGS a = 1, b = 'x'` when it follows the format name, otherwise `start`. */
function endOfSettings(text: string, start: number): number {
  let end = start;
  let expects: 'SETTINGS' | 'name' | '=' | 'value' | ',' = 'SETTINGS';
  for (const token of sqlTokens(text, start)) {
    if (expects === 'SETTINGS') {
      if (token.text !== 'SETTINGS' || token.kind !== 'word') return start;
      expects = 'name';
    } else if (expects === 'name') {
      expects = '=';
    } else if (expects === '=') {
      if (token.text === '=') expects = 'value';
      else if (token.text !== '.' && token.kind !== 'word') return start;
    } else if (expects === 'value') {
      // A sign or the point of a number comes before its digits.
      if (token.kind === 'punctuation') continue;
      end = token.end;
      expects = ',';
    } else {
      if (token.text !== ',' && token.text !== '.') return end;
      expects = token.text === '.' ? 'value' : 'name';
    }
  }
  return end;
}

/** `formatName` is undefined for VALUES. */
function insertData(
  text: string,
  tokens: readonly Token[],
  formatAt: number,
  formatName: Token | undefined,
  formatEnd: number,
  input: InsertData['input'],
): InsertData {
  const settings = tokens.find((token) => token.kind === 'word' && token.text === 'SETTINGS' && token.depth === 0);
  const format = formatName === undefined ? 'Values' : text.slice(formatName.start, formatName.end);
  return {
    kind: 'insert',
    tokens,
    format,
    sourceAt: input === undefined ? (settings?.start ?? formatAt) : undefined,
    input,
    formatAt,
    formatNameEnd: formatName?.end ?? formatEnd,
    formatEnd,
    dataAt: skipDataPrefix(text, formatEnd),
  };
}

/** Data starts after blanks and one line end, as in the server's parser. */
function skipDataPrefix(text: string, start: number): number {
  let at = start;
  while (text[at] === ' ' || text[at] === '\t' || text[at] === '\f') at++;
  if (text[at] === '\r') at++;
  if (text[at] === '\n') at++;
  return at;
}

function findInput(tokens: readonly Token[]): InsertData['input'] {
  for (let index = 0; index < tokens.length - 3; index++) {
    const [name, open, structure, close] = tokens.slice(index, index + 4) as [Token, Token, Token, Token];
    if (name.kind !== 'word' || name.text !== 'INPUT' || open.text !== '(') continue;
    if (structure.kind === 'string' && close.text === ')')
      return { start: name.start, end: close.end, structure: structure.text };
    throw refuse('NOT_IMPLEMENTED', 'input() without a structure is not supported by the embedded engine');
  }
  return undefined;
}

/** The INSERT that reads its data from `file`. */
export function insertFromFile(text: string, insert: InsertData, file: string): string {
  if (insert.input !== undefined) {
    const call = `file(${asBytes(literal(file))}, ${literal(insert.format)}, ${insert.input.structure}, 'none')`;
    return applyEdits(text.slice(0, insert.formatAt), [{ ...insert.input, text: call }]);
  }
  const after = text.slice(insert.formatNameEnd, insert.formatEnd);
  const edits = [
    {
      start: insert.sourceAt as number,
      end: insert.sourceAt as number,
      text: ` FROM INFILE ${asBytes(literal(file))} COMPRESSION 'none' `,
    },
    { start: insert.formatAt, end: insert.formatEnd, text: `${after} FORMAT ${insert.format}` },
  ];
  return applyEdits(text.slice(0, insert.formatEnd), edits);
}

/** The edit that sends the result of a SELECT to `file`. */
export function outputEdit(statement: Statement & { kind: 'select' }, file: string, defaultFormat: string): Edit {
  const clause = `INTO OUTFILE ${asBytes(literal(file))} TRUNCATE COMPRESSION 'none' `;
  const at = statement.format?.at ?? statement.end;
  // A line end first: the statement may end in a comment.
  return { start: at, end: at, text: statement.format === undefined ? `\n${clause}FORMAT ${defaultFormat}` : clause };
}

export function applyEdits(text: string, edits: readonly Edit[]): string {
  let result = '';
  let at = 0;
  for (const edit of [...edits].sort((a, b) => a.start - b.start)) {
    result += text.slice(at, edit.start) + edit.text;
    at = edit.end;
  }
  return result + text.slice(at);
}
