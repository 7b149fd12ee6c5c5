/** What jsonb gives back as text, in the forms of a record batch: JSON without spaces, attributes with their kinds. */
import type { AttributesBuilder } from '../../columnar/attributes';
import { ATTRIBUTE_KIND } from '../../core/table-schema';

const ASCII = { quote: 0x22, backslash: 0x5c, space: 0x20 } as const;

/** Copies source[start, end) without the spaces that jsonb puts behind `:` and `,`; gives the number of bytes. */
export function compactJson(source: Uint8Array, start: number, end: number, to: Uint8Array, at: number): number {
  let out = at;
  let inString = false;
  for (let i = start; i < end; i++) {
    const byte = source[i];
    if (byte === ASCII.space && !inString) continue;
    to[out++] = byte;
    if (byte === ASCII.quote) inString = !inString;
    else if (byte === ASCII.backslash) to[out++] = source[++i]!;
  }
  return out - at;
}

const INT64 = { min: -(2n ** 63n), max: 2n ** 63n - 1n };

/** Appends one row with the members of a jsonb object. Throws RangeError for a text that is no object. */
export function appendAttributes(text: string, builder: AttributesBuilder): void {
  if (text[0] !== '{') throw new RangeError('attributes must be a JSON object');
  let at = 1;
  while (text[at] !== '}') {
    if (text[at] === ',' || text[at] === ' ') {
      at++;
      continue;
    }
    const keyEnd = stringEnd(text, at);
    const key = stringOf(text, at, keyEnd);
    at = keyEnd + 1;
    while (text[at] === ' ') at++;
    const end = valueEnd(text, at);
    builder.key(builder.keys.internString(key));
    const { kind, value } = attributeOf(text, at, end);
    builder.text.writeString(value);
    builder.endEntry(kind);
    at = end;
  }
  builder.endRow();
}

function attributeOf(text: string, at: number, end: number): { kind: number; value: string } {
  switch (text[at]) {
    case '"':
      return { kind: ATTRIBUTE_KIND.string, value: stringOf(text, at, end) };
    case '{':
      return { kind: ATTRIBUTE_KIND.kvlist, value: compactText(text, at, end) };
    case '[':
      return { kind: ATTRIBUTE_KIND.array, value: compactText(text, at, end) };
    case 't':
    case 'f':
      return { kind: ATTRIBUTE_KIND.bool, value: text.slice(at, end) };
    case 'n':
      return { kind: ATTRIBUTE_KIND.empty, value: 'null' };
    default: {
      const value = text.slice(at, end);
      return { kind: isInt64(value) ? ATTRIBUTE_KIND.int : ATTRIBUTE_KIND.double, value };
    }
  }
}

function isInt64(text: string): boolean {
  if (!/^-?\d{1,19}$/.test(text)) return false;
  const value = BigInt(text);
  return value >= INT64.min && value <= INT64.max;
}

/** Without the escapes, of which most strings have none. */
function stringOf(text: string, start: number, end: number): string {
  const inner = text.slice(start + 1, end - 1);
  return inner.includes('\\') ? (JSON.parse(text.slice(start, end)) as string) : inner;
}

function compactText(text: string, start: number, end: number): string {
  const source = Buffer.from(text.slice(start, end));
  const to = Buffer.alloc(source.length);
  return to.toString('utf8', 0, compactJson(source, 0, source.length, to, 0));
}

/** Position behind the string that starts at `at`. */
function stringEnd(text: string, at: number): number {
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === '"') return i + 1;
  }
  throw new RangeError('a JSON string has no end');
}

/** Position behind the value that starts at `at`. */
function valueEnd(text: string, at: number): number {
  if (text[at] === '"') return stringEnd(text, at);
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    const char = text[i];
    if (char === '"') i = stringEnd(text, i) - 1;
    else if (char === '{' || char === '[') depth++;
    else if (depth > 0 && (char === '}' || char === ']')) depth--;
    else if (depth === 0 && (char === ',' || char === '}' || char === ']')) return i;
    if (depth === 0 && (char === '}' || char === ']')) return i + 1;
  }
  throw new RangeError('a JSON value has no end');
}
