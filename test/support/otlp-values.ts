/** Text forms of AnyValue, worked out from protobufjs objects: the oracle's half of src/adapters/otlp/any-value.ts. */

/** An AnyValue as protobufjs decodes it: `value` names the member of the oneof that is set. */
export interface AnyValue {
  value?: string;
  stringValue: string;
  boolValue: boolean;
  intValue: unknown;
  doubleValue: number;
  arrayValue: { values: AnyValue[] };
  kvlistValue: { values: KeyValue[] };
  bytesValue: Uint8Array;
}

export interface KeyValue {
  key: string;
  value?: AnyValue | null;
}

/** Key, kind, text. */
export type Entry = [string, number, string];

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** A Long (or number) as a BigInt. */
export const longOf = (value: unknown): bigint => BigInt(String(value));

/** Shortest form, always with a point or an exponent. */
function doubleText(value: number): string {
  if (Object.is(value, -0)) return '-0.0';
  const text = String(value);
  return Number.isInteger(value) && !text.includes('e') ? `${text}.0` : text;
}

export const doubleJson = (value: number): string => (Number.isFinite(value) ? doubleText(value) : `"${value}"`);

/** Kind and text as in an attribute column. */
export function valueText(value: AnyValue): [number, string] {
  switch (value.value) {
    case undefined:
      return [0, ''];
    case 'stringValue':
      return [1, value.stringValue];
    case 'doubleValue':
      return [4, doubleText(value.doubleValue)];
    case 'bytesValue':
      return [7, Buffer.from(value.bytesValue).toString('base64')];
    default:
      return [{ boolValue: 2, intValue: 3, arrayValue: 5, kvlistValue: 6 }[value.value] ?? -1, valueJson(value)];
  }
}

function valueJson(value: AnyValue | null | undefined): string {
  if (!value) return 'null';
  switch (value.value ?? '') {
    case 'stringValue':
      return JSON.stringify(value.stringValue);
    case 'boolValue':
      return String(value.boolValue);
    case 'intValue':
      return String(longOf(value.intValue));
    case 'doubleValue':
      return doubleJson(value.doubleValue);
    case 'bytesValue':
      return JSON.stringify(Buffer.from(value.bytesValue).toString('base64'));
    case 'arrayValue':
      return `[${(value.arrayValue.values ?? []).map(valueJson).join(',')}]`;
    case 'kvlistValue':
      return entriesJson(value.kvlistValue.values ?? []);
    default:
      return 'null';
  }
}

/** A JSON object; of a repeated key the last one, in its own place. */
export function entriesJson(list: readonly KeyValue[]): string {
  const last = list.filter(({ key }, i) => !list.slice(i + 1).some((later) => later.key === key));
  return `{${last.map(({ key, value }) => `${JSON.stringify(key)}:${valueJson(value)}`).join(',')}}`;
}

/** Attributes; of a repeated key the last value, in the place of the first. */
export function entries(list: readonly KeyValue[]): Entry[] {
  const found = new Map<string, Entry>();
  for (const { key, value } of list) found.set(key, [key, ...(value ? valueText(value) : ([0, ''] as [number, string]))]);
  return [...found.values()];
}
