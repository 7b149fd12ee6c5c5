/**
 * Words, quotes and brackets of ClickHouse SQL: just enough to find where clauses begin, never to judge the statement, which
 * is the engine's work. Runs on text decoded as latin1, so that positions are byte positions and binary INSERT data that
 * follows a statement cannot disturb it.
 */
export interface Token {
  readonly kind: 'word' | 'quoted' | 'string' | 'punctuation';
  /** Upper case for a word, the name without quotes for a quoted identifier, the character for punctuation. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
  /** Open brackets around the token; a bracket itself has the depth of what stands outside it. */
  readonly depth: number;
}

const WORD = /[A-Za-z0-9_\x80-\xff]/;
const SPACE = /\s/;
const HEREDOC = /\$[A-Za-z0-9_]*\$/y;

/** The tokens from `start`, lazily: a caller that stops at the data of an INSERT never looks at the data. */
export function* sqlTokens(sql: string, start = 0): Generator<Token, void> {
  let at = start;
  let depth = 0;
  for (;;) {
    at = skipBlank(sql, at);
    if (at >= sql.length) return;
    const token = readToken(sql, at, depth);
    if (token.kind === 'punctuation') {
      if ('([{'.includes(token.text)) depth++;
      else if (')]}'.includes(token.text)) depth = Math.max(0, depth - 1);
      yield ')]}'.includes(token.text) ? { ...token, depth } : token;
    } else {
      yield token;
    }
    at = token.end;
  }
}

function readToken(sql: string, start: number, depth: number): Token {
  const first = sql[start];
  if (WORD.test(first)) {
    let end = start + 1;
    while (end < sql.length && WORD.test(sql[end])) end++;
    return { kind: 'word', text: sql.slice(start, end).toUpperCase(), start, end, depth };
  }
  if (first === "'") {
    const end = endOfQuoted(sql, start, "'");
    return { kind: 'string', text: sql.slice(start, end), start, end, depth };
  }
  if (first === '`' || first === '"') {
    const end = endOfQuoted(sql, start, first);
    return { kind: 'quoted', text: sql.slice(start + 1, end - 1), start, end, depth };
  }
  if (first === '$') {
    const end = endOfHeredoc(sql, start);
    if (end !== undefined) return { kind: 'string', text: sql.slice(start, end), start, end, depth };
  }
  return { kind: 'punctuation', text: first, start, end: start + 1, depth };
}

/** The position after the closing quote; a doubled quote and a backslash escape do not close. */
function endOfQuoted(sql: string, start: number, quote: string): number {
  for (let at = start + 1; at < sql.length; at++) {
    const char = sql[at];
    if (char === '\\') at++;
    else if (char === quote) {
      if (sql[at + 1] !== quote) return at + 1;
      at++;
    }
  }
  return sql.length;
}

function endOfHeredoc(sql: string, start: number): number | undefined {
  HEREDOC.lastIndex = start;
  const tag = HEREDOC.exec(sql)?.[0];
  if (tag === undefined) return undefined;
  const close = sql.indexOf(tag, start + tag.length);
  return close < 0 ? undefined : close + tag.length;
}

/** The position of the next character that is neither space nor comment. */
function skipBlank(sql: string, start: number): number {
  let at = start;
  while (at < sql.length) {
    if (SPACE.test(sql[at]) || sql[at] === '\0') at++;
    else if (sql.startsWith('--', at) || sql.startsWith('#!', at) || sql.startsWith('# ', at)) at = endOrLength(sql, '\n', at);
    else if (sql.startsWith('/*', at)) at = endOrLength(sql, '*/', at + 2);
    else return at;
  }
  return at;
}

function endOrLength(sql: string, mark: string, from: number): number {
  const found = sql.indexOf(mark, from);
  return found < 0 ? sql.length : found + mark.length;
}

/** Text as the lexer's form, one character per UTF-8 byte; and back. */
export function asBytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

export function fromBytes(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
