/** Text of ClickHouse SQL: names and strings come out quoted, whatever they hold. */

const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '`': '\\`', "'": "\\'", '\0': '\\0' };

/** A name in backticks. */
export const identifier = (name: string): string => `\`${name.replace(/[\\`\0]/g, (char) => ESCAPES[char])}\``;

/** A string literal. */
export const literal = (text: string): string => `'${text.replace(/[\\'\0]/g, (char) => ESCAPES[char])}'`;

export const qualified = (database: string, table: string): string => `${identifier(database)}.${identifier(table)}`;

/** A JSON object as a map of strings: strings without their quotes, everything else as JSON text. */
export const jsonMap = (json: string): string =>
  `CAST(arrayMap(kv -> (kv.1, if(startsWith(kv.2, '"'), JSONExtractString(kv.2), kv.2)), ` +
  `JSONExtractKeysAndValuesRaw(${json})), 'Map(LowCardinality(String), String)')`;
