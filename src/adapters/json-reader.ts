/**
 * A strict pull reader for JSON text in UTF-8 (RFC 8259): no JSON.parse, no string and no object per value.
 * Strings are byte ranges of the input, or of a scratch buffer when they have escapes; numbers are byte ranges and stay exact.
 * Refused with IngestError `invalid_argument` and the byte position: invalid UTF-8, a byte order mark, lone surrogates in
 * escapes,
 * control characters in strings, nesting deeper than the limit, anything after the value.
 */
import { isUtf8 } from 'node:buffer';
import { IngestError } from '../core/errors';
import { LIMITS } from '../core/limits';
import { scanNumber } from './json-number';

/** The first byte of a token tells its kind. */
export const JSON_BYTE = {
  quote: 0x22,
  comma: 0x2c,
  minus: 0x2d,
  colon: 0x3a,
  openArray: 0x5b,
  backslash: 0x5c,
  closeArray: 0x5d,
  f: 0x66,
  n: 0x6e,
  t: 0x74,
  openObject: 0x7b,
  closeObject: 0x7d,
  /** What `peek` gives at the end of the input. */
  end: -1,
} as const;

const WORDS: Readonly<Record<number, Uint8Array>> = {
  [JSON_BYTE.t]: Buffer.from('true'),
  [JSON_BYTE.f]: Buffer.from('false'),
  [JSON_BYTE.n]: Buffer.from('null'),
};

/** `\b` and the like: escape letter -> byte. */
const ESCAPES = new Map([
  [0x22, 0x22],
  [0x2f, 0x2f],
  [0x5c, 0x5c],
  [0x62, 0x08],
  [0x66, 0x0c],
  [0x6e, 0x0a],
  [0x72, 0x0d],
  [0x74, 0x09],
]);

export class JsonReader {
  readonly bytes: Uint8Array;
  pos = 0;
  /** End of what may be read: the input's end, or that of one line. */
  limit: number;
  /** The last string (unescaped) or number: text[textStart, textEnd). */
  text: Uint8Array;
  textStart = 0;
  textEnd = 0;
  private scratch = new Uint8Array(256);
  private scratchUsed = 0;
  private depth = 0;
  private readonly inObject: Uint8Array;

  /** Throws IngestError for a byte order mark and, unless the caller has checked it, for invalid UTF-8. */
  constructor(
    body: Uint8Array,
    private readonly depthMax: number = LIMITS.nestingDepthMax,
    checkUtf8 = true,
  ) {
    this.bytes = new Uint8Array(body.buffer, body.byteOffset, body.length);
    this.text = this.bytes;
    this.limit = body.length;
    this.inObject = new Uint8Array(depthMax);
    if (body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf) this.fail('a byte order mark is not allowed', 0);
    if (checkUtf8 && !isUtf8(this.bytes)) this.fail('the text is not valid UTF-8', invalidUtf8At(this.bytes));
  }

  fail(problem: string, at: number = this.pos): never {
    throw new IngestError('invalid_argument', `json: ${problem} at byte ${at}`, { at: `byte ${at}` });
  }

  /** Reads only bytes [start, end) from now on, as a text of its own. */
  window(start: number, end: number): void {
    this.pos = start;
    this.limit = end;
    this.depth = 0;
    this.scratchUsed = 0;
  }

  /** Forgets the unescaped strings so far: their ranges must not be used any more. */
  resetScratch(): void {
    this.scratchUsed = 0;
  }

  /** The first byte of the next token, or `JSON_BYTE.end`. Skips whitespace. */
  peek(): number {
    const { bytes, limit } = this;
    let { pos } = this;
    while (pos < limit) {
      const byte = bytes[pos];
      if (byte > 0x20 || (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09)) {
        this.pos = pos;
        return byte;
      }
      pos++;
    }
    this.pos = pos;
    return JSON_BYTE.end;
  }

  /** After `{` was peeked. */
  beginObject(): void {
    this.push();
  }

  /**
   * Reads the next key (as `text`) and its colon; false when the object ends.
   * `first`: nothing has been read of the object yet.
   */
  nextMember(first: boolean): boolean {
    let byte = this.peek();
    if (byte === JSON_BYTE.closeObject) {
      this.pop();
      return false;
    }
    if (!first) {
      if (byte !== JSON_BYTE.comma) this.unexpected('a comma or the end of the object');
      this.pos++;
      byte = this.peek();
    }
    if (byte !== JSON_BYTE.quote) this.unexpected('a member name');
    this.string();
    if (this.peek() !== JSON_BYTE.colon) this.unexpected('a colon');
    this.pos++;
    return true;
  }

  /**
   * Reads the next key if its bytes, with quotes and colon and nothing in between, are exactly `quoted`; otherwise reads nothing.
   * The fast path of a caller that guesses the next key; `text` is not set.
   */
  tryMember(first: boolean, quoted: Uint8Array): boolean {
    const { bytes } = this;
    let at = this.pos;
    if (!first && bytes[at++] !== JSON_BYTE.comma) return false;
    const end = at + quoted.length;
    if (end > this.limit) return false;
    for (let i = 0; i < quoted.length; i++) if (bytes[at + i] !== quoted[i]) return false;
    this.pos = end;
    return true;
  }

  /** After `[` was peeked. */
  beginArray(): void {
    this.push();
  }

  /** True when an element follows. `first`: nothing has been read of the array yet. */
  nextElement(first: boolean): boolean {
    const byte = this.peek();
    if (byte === JSON_BYTE.closeArray) {
      this.pop();
      return false;
    }
    if (first) return true;
    if (byte !== JSON_BYTE.comma) this.unexpected('a comma or the end of the array');
    this.pos++;
    return true;
  }

  /** After `"` was peeked: reads the string into `text`. */
  string(): void {
    const { bytes, limit } = this;
    const start = this.pos + 1;
    let at = start;
    while (at < limit) {
      const byte = bytes[at];
      if (byte === JSON_BYTE.quote) {
        this.text = bytes;
        this.textStart = start;
        this.textEnd = at;
        this.pos = at + 1;
        return;
      }
      if (byte === JSON_BYTE.backslash) {
        this.escapedString(start, at);
        return;
      }
      if (byte < 0x20) this.fail('a control character in a string', at);
      at++;
    }
    this.fail('the string does not end', limit);
  }

  /** After a digit or `-` was peeked: reads the number's range into `text`. */
  number(): void {
    const end = scanNumber(this.bytes, this.pos, this.limit);
    if (end < 0) this.fail('not a number');
    this.text = this.bytes;
    this.textStart = this.pos;
    this.textEnd = end;
    this.pos = end;
  }

  /** After `t`, `f` or `n` was peeked: reads the whole word. */
  word(): void {
    const word = WORDS[this.bytes[this.pos]];
    if (word === undefined || this.pos + word.length > this.limit) this.unexpected('a value');
    for (let i = 0; i < word.length; i++) if (this.bytes[this.pos + i] !== word[i]) this.unexpected('a value');
    this.pos += word.length;
  }

  /** Reads a value of any kind and any depth below the limit, and forgets it. */
  skipValue(): void {
    const base = this.depth;
    let first = this.skipToken();
    while (this.depth > base) {
      const more = this.inObject[this.depth - 1] === 1 ? this.nextMember(first) : this.nextElement(first);
      first = more ? this.skipToken() : false;
    }
  }

  /** Nothing but whitespace may follow. */
  expectEnd(): void {
    if (this.peek() !== JSON_BYTE.end) this.unexpected('the end of the text');
  }

  /** Throws: `wanted` should have come here. */
  unexpected(wanted: string): never {
    if (this.pos >= this.limit) this.fail(`the text ends where ${wanted} should be`, this.limit);
    this.fail(`expected ${wanted}`);
  }

  /** Reads a scalar, or the opening of a container: true for the latter. */
  private skipToken(): boolean {
    const byte = this.peek();
    switch (byte) {
      case JSON_BYTE.quote: {
        const kept = this.scratchUsed;
        this.string();
        this.scratchUsed = kept;
        return false;
      }
      case JSON_BYTE.openObject:
      case JSON_BYTE.openArray:
        this.push();
        return true;
      case JSON_BYTE.t:
      case JSON_BYTE.f:
      case JSON_BYTE.n:
        this.word();
        return false;
      default:
        if (byte !== JSON_BYTE.minus && (byte < 0x30 || byte > 0x39)) this.unexpected('a value');
        this.number();
        return false;
    }
  }

  private push(): void {
    if (this.depth >= this.depthMax) this.fail(`nested deeper than ${this.depthMax} levels`);
    this.inObject[this.depth++] = this.bytes[this.pos] === JSON_BYTE.openObject ? 1 : 0;
    this.pos++;
  }

  private pop(): void {
    this.depth--;
    this.pos++;
  }

  /** A string with escapes: bytes [start, escape) stand as they are, an escape is at `escape`. */
  private escapedString(start: number, escape: number): void {
    const { bytes, limit } = this;
    const from = this.scratchUsed;
    this.copyToScratch(start, escape);
    let at = escape;
    let run = escape;
    while (at < limit) {
      const byte = bytes[at];
      if (byte === JSON_BYTE.quote) {
        this.copyToScratch(run, at);
        this.text = this.scratch;
        this.textStart = from;
        this.textEnd = this.scratchUsed;
        this.pos = at + 1;
        return;
      }
      if (byte < 0x20) this.fail('a control character in a string', at);
      if (byte === JSON_BYTE.backslash) {
        this.copyToScratch(run, at);
        at = this.unescape(at);
        run = at;
      } else {
        at++;
      }
    }
    this.fail('the string does not end', limit);
  }

  private copyToScratch(start: number, end: number): void {
    this.reserveScratch(end - start);
    this.scratch.set(this.bytes.subarray(start, end), this.scratchUsed);
    this.scratchUsed += end - start;
  }

  /** A new buffer instead of a moved one: ranges handed out before stay valid. */
  private reserveScratch(count: number): void {
    const needed = this.scratchUsed + count;
    if (needed <= this.scratch.length) return;
    const grown = new Uint8Array(Math.max(needed, this.scratch.length * 2));
    grown.set(this.scratch.subarray(0, this.scratchUsed));
    this.scratch = grown;
  }

  /** Writes the character of the escape at `at` to the scratch buffer; gives the position after it. */
  private unescape(at: number): number {
    const letter = at + 1 < this.limit ? this.bytes[at + 1] : JSON_BYTE.end;
    this.reserveScratch(4);
    const plain = ESCAPES.get(letter);
    if (plain !== undefined) {
      this.scratch[this.scratchUsed++] = plain;
      return at + 2;
    }
    if (letter !== 0x75) this.fail('an unknown escape', at);
    const unit = this.hexUnit(at + 2);
    if (unit < 0xd800 || unit > 0xdfff) {
      this.putCodePoint(unit);
      return at + 6;
    }
    const paired = unit < 0xdc00 && this.bytes[at + 6] === JSON_BYTE.backslash && this.bytes[at + 7] === 0x75;
    const low = paired ? this.hexUnit(at + 8) : 0;
    if (low < 0xdc00 || low > 0xdfff) this.fail('a lone surrogate', at);
    this.putCodePoint(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
    return at + 12;
  }

  private hexUnit(at: number): number {
    if (at + 4 > this.limit) this.fail('the string does not end', this.limit);
    let unit = 0;
    for (let i = at; i < at + 4; i++) {
      const digit = hexDigit(this.bytes[i]);
      if (digit < 0) this.fail('an escape needs four hex digits', at - 2);
      unit = unit * 16 + digit;
    }
    return unit;
  }

  private putCodePoint(code: number): void {
    const { scratch } = this;
    if (code < 0x80) {
      scratch[this.scratchUsed++] = code;
      return;
    }
    if (code < 0x800) {
      scratch[this.scratchUsed++] = 0xc0 | (code >> 6);
    } else {
      if (code < 0x10000) {
        scratch[this.scratchUsed++] = 0xe0 | (code >> 12);
      } else {
        scratch[this.scratchUsed++] = 0xf0 | (code >> 18);
        scratch[this.scratchUsed++] = 0x80 | ((code >> 12) & 0x3f);
      }
      scratch[this.scratchUsed++] = 0x80 | ((code >> 6) & 0x3f);
    }
    scratch[this.scratchUsed++] = 0x80 | (code & 0x3f);
  }
}

/** Value of a hex digit in either case, or -1. */
export function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** Where the first sequence that is not UTF-8 is, by halving; `bytes` is known to be invalid. */
function invalidUtf8At(bytes: Uint8Array): number {
  let valid = 0;
  let invalid = bytes.length;
  while (invalid - valid > 1) {
    const middle = (valid + invalid) >> 1;
    if (isUtf8(bytes.subarray(0, characterStart(bytes, middle)))) valid = middle;
    else invalid = middle;
  }
  return characterStart(bytes, valid);
}

/** Steps back from the middle of a character, by at most three bytes. */
function characterStart(bytes: Uint8Array, at: number): number {
  let start = at;
  while (start > 0 && at - start < 3 && (bytes[start] & 0xc0) === 0x80) start--;
  return start;
}
