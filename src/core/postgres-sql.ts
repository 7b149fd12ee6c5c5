/** Text of PostgreSQL SQL: names and strings come out quoted, whatever they hold. */

export const quoteIdentifier = (name: string): string => `"${name.replaceAll('"', '""')}"`;

export const quoteLiteral = (text: string): string => `'${text.replaceAll("'", "''")}'`;
