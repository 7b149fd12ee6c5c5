/**
 * Checks a message whose content is not stored - a row that is rejected, a value that a later one replaces - exactly as if
 * it were: wire format, UTF-8 of every `string` field (PB5), nesting. Driven by a table of what is inside which message.
 */
import { isUtf8 } from 'node:buffer';
import { IngestError } from '../../core/errors';
import { LIMITS } from '../../core/limits';
import { malformed, tooDeep, type Wire } from '../wire';

/** `wide`: packed 8-byte values. `varints`: packed varints. Every other field is checked by its wire type alone. */
type FieldRule = 'string' | 'wide' | 'varints' | MessageRule;

export interface MessageRule {
  readonly fields: Map<number, FieldRule>;
  /** Does entering this message go one level deeper into a value? */
  readonly nests: boolean;
}

const message = (fields: Record<number, FieldRule>, nests = false): MessageRule => ({
  fields: new Map(Object.entries(fields).map(([number, rule]) => [Number(number), rule])),
  nests,
});

const ANY_VALUE = message({ 1: 'string' }, true);
export const KEY_VALUE = message({ 1: 'string', 2: ANY_VALUE });
export const ARRAY_VALUE = message({ 1: ANY_VALUE });
export const KEY_VALUE_LIST = message({ 1: KEY_VALUE });
ANY_VALUE.fields.set(5, ARRAY_VALUE).set(6, KEY_VALUE_LIST);

const ENTITY_REF = message({ 1: 'string', 2: 'string', 3: 'string', 4: 'string' });
export const RESOURCE = message({ 1: KEY_VALUE, 3: ENTITY_REF });
export const SCOPE = message({ 1: 'string', 2: 'string', 3: KEY_VALUE });

export const LOG_RECORD = message({ 3: 'string', 5: ANY_VALUE, 6: KEY_VALUE, 12: 'string' });

export const SPAN = message({
  3: 'string',
  5: 'string',
  9: KEY_VALUE,
  11: message({ 2: 'string', 3: KEY_VALUE }),
  13: message({ 3: 'string', 4: KEY_VALUE }),
  15: message({ 2: 'string' }),
});

const EXEMPLAR = message({ 7: KEY_VALUE });
const BUCKETS = message({ 2: 'varints' });
export const NUMBER_POINT = message({ 5: EXEMPLAR, 7: KEY_VALUE });
export const HISTOGRAM_POINT = message({ 6: 'wide', 7: 'wide', 8: EXEMPLAR, 9: KEY_VALUE });
export const EXPONENTIAL_POINT = message({ 1: KEY_VALUE, 8: BUCKETS, 9: BUCKETS, 11: EXEMPLAR });
export const SUMMARY_POINT = message({ 6: message({}), 7: KEY_VALUE });
/** The members of the oneof `Metric.data`, by field number. */
export const METRIC_DATA: ReadonlyMap<number, MessageRule> = new Map([
  [5, message({ 1: NUMBER_POINT })],
  [7, message({ 1: NUMBER_POINT })],
  [9, message({ 1: HISTOGRAM_POINT })],
  [10, message({ 1: EXPONENTIAL_POINT })],
  [11, message({ 1: SUMMARY_POINT })],
]);
/** A Metric without the oneof `data`, whose members are checked on their own. */
export const METRIC = message({ 1: 'string', 2: 'string', 3: 'string', 12: KEY_VALUE });

const DELIMITED = 2;

/** Checks the message in [start, end). `depth` is the depth of the value that holds it, 0 outside of values. */
export function validate(wire: Wire, start: number, end: number, rule: MessageRule, depth = 0): void {
  if (depth > LIMITS.nestingDepthMax) throw tooDeep(start);
  let p = start;
  while (p < end) {
    p = wire.tag(p, end);
    const tag = wire.low;
    const field = (tag & 7) === DELIMITED ? rule.fields.get(tag >>> 3) : undefined;
    if (field === undefined) {
      p = wire.skip(tag, p, end);
      continue;
    }
    p = wire.open(p, end);
    const { stop } = wire;
    if (field === 'string') requireUtf8(wire, p, stop);
    else if (field === 'wide') requireWhole(p, stop);
    else if (field === 'varints') while (p < stop) p = wire.varint(p, stop);
    else validate(wire, p, stop, field, field.nests ? depth + 1 : depth);
    p = stop;
  }
}

/** Packed values of eight bytes must fill their field. */
export function requireWhole(start: number, end: number): void {
  if ((end - start) % 8 !== 0) throw malformed('packed values end in the middle of one', end);
}

/** Checks one string field (PB5). For columns there is a check of all values at once. */
export function requireUtf8(wire: Wire, start: number, end: number): void {
  const { bytes } = wire;
  for (let p = start; p < end; p++) {
    if (bytes[p] < 0x80) continue;
    if (!isUtf8(bytes.subarray(p, end))) throw notUtf8(`byte ${start}`);
    return;
  }
}

/** Checks text that is already in a column. */
export function requireUtf8Bytes(text: Uint8Array): void {
  if (!isUtf8(text)) throw notUtf8();
}

export const notUtf8 = (at?: string): IngestError =>
  new IngestError('invalid_argument', 'protobuf: a string is not valid UTF-8', at === undefined ? {} : { at });
