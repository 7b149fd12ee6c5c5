/** Text of ClickHouse SQL: names and strings come out quoted, whatever they hold. */

const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '`': '\\`', "'": "\\'", '\0': '\\0' };

/** A name in backticks. */
export const identifier = (name: string): string => `\`${name.replace(/[\\`\0]/g, (char) => ESCAPES[char])}\``;

/** A string literal. */
export const literal = (text: string): string => `'${text.replace(/[\\'\0]/g, (char) => ESCAPES[char])}'`;

export const qualified = (database: string, table: string): string => `${identifier(database)}.${identifier(table)}`;
