import { types } from 'pg';

/** OIDs by upper-case name; plain numbers, as fields carry them. */
const builtins: Readonly<Record<string, number>> = types.builtins;

const NAMES = new Map(Object.entries(builtins).map(([name, oid]) => [oid, name.toLowerCase()]));
/** Array types of what our tables hold; pg knows only the scalars by name. */
const ARRAYS: Readonly<Record<number, string>> = {
  1000: 'bool[]',
  1005: 'int2[]',
  1007: 'int4[]',
  1009: 'text[]',
  1016: 'int8[]',
  1021: 'float4[]',
  1022: 'float8[]',
  1231: 'numeric[]',
};

/** PostgreSQL's name of a type, by its OID; `oid:N` for one that is not built in. */
export const typeName = (oid: number): string => ARRAYS[oid] ?? NAMES.get(oid) ?? `oid:${oid}`;

/**
 * A value in PostgreSQL's text form as JSON text. What JSON numbers cannot hold for every reader (int8, numeric, NaN) is a string,
 * json and jsonb stay verbatim, timestamps become ISO 8601 with every digit.
 */
export function jsonValue(text: string | null, oid: number): string {
  if (text === null) return 'null';
  switch (oid) {
    case builtins.BOOL:
      return text === 't' ? 'true' : 'false';
    case builtins.INT2:
    case builtins.INT4:
    case builtins.OID:
      return text;
    case builtins.FLOAT4:
    case builtins.FLOAT8:
      return Number.isFinite(Number(text)) ? text : JSON.stringify(text);
    case builtins.JSON:
    case builtins.JSONB:
      return text;
    case builtins.TIMESTAMPTZ:
    case builtins.TIMESTAMP:
      return JSON.stringify(isoTimestamp(text, oid === builtins.TIMESTAMPTZ));
    default:
      return text.startsWith('{') && ARRAYS[oid] !== undefined ? arrayValue(text, oid) : JSON.stringify(text);
  }
}

/** `2026-01-02 03:04:05.123456+00` -> `2026-01-02T03:04:05.123456Z` (the session's zone is UTC); infinity and BC stay as they are. */
function isoTimestamp(text: string, zoned: boolean): string {
  const match = /^(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)(?:\+00)?$/.exec(text);
  return match === null ? text : `${match[1]}T${match[2]}${zoned ? 'Z' : ''}`;
}

const ITEM_OIDS: Readonly<Record<number, number>> = {
  1000: builtins.BOOL,
  1005: builtins.INT2,
  1007: builtins.INT4,
  1009: builtins.TEXT,
  1016: builtins.INT8,
  1021: builtins.FLOAT4,
  1022: builtins.FLOAT8,
  1231: builtins.NUMERIC,
};

/** A one-dimensional array in text form as a JSON array. */
function arrayValue(text: string, oid: number): string {
  const items: string[] = [];
  const pattern = /"((?:[^"\\]|\\.)*)"|([^,{}]+)/g;
  for (const [, quoted, bare] of text.slice(1, -1).matchAll(pattern)) {
    if (quoted !== undefined) items.push(jsonValue(quoted.replaceAll(/\\(.)/g, '$1'), ITEM_OIDS[oid]));
    else items.push(jsonValue(bare === 'NULL' ? null : bare, ITEM_OIDS[oid]));
  }
  return `[${items.join(',')}]`;
}
