/** Base64 over bytes: standard and URL-safe alphabet, padded or not (RFC 4648; ProtoJSON accepts all four, rule OJ9). */

const INVALID = 255;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const VALUES = new Uint8Array(256).fill(INVALID);
for (let value = 0; value < ALPHABET.length; value++) VALUES[ALPHABET.charCodeAt(value)] = value;
VALUES['-'.charCodeAt(0)] = 62;
VALUES['_'.charCodeAt(0)] = 63;

const PAD = '='.charCodeAt(0);

/** The decoded bytes of text[start, end), or undefined when it is not base64. Bits beyond the last byte are not looked at. */
export function decodeBase64(text: Uint8Array, start: number, end: number): Uint8Array | undefined {
  let last = end;
  const padding = (end > start && text[end - 1] === PAD ? 1 : 0) + (end > start + 1 && text[end - 2] === PAD ? 1 : 0);
  if (padding > 0) {
    if ((end - start) % 4 !== 0) return undefined;
    last -= text[end - 1] === PAD ? padding : 0;
  }
  const characters = last - start;
  if (characters % 4 === 1) return undefined;
  const out = new Uint8Array((characters * 3) >> 2);
  let bits = 0;
  let held = 0;
  let at = 0;
  for (let i = start; i < last; i++) {
    const value = VALUES[text[i]];
    if (value === INVALID) return undefined;
    held = ((held << 6) | value) & 0xffffff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out[at++] = held >> bits;
    }
  }
  return out;
}
