/** Finds things by the UTF-8 bytes of their name, without a string per look-up. For a few hundred names that are known beforehand. */
export class KeyTable<T extends { readonly nameBytes: Uint8Array }> {
  private readonly slots: T[][] = Array.from({ length: SLOTS }, () => []);

  add(entry: T): void {
    this.slots[slotOf(entry.nameBytes, 0, entry.nameBytes.length)].push(entry);
  }

  /** The entry whose name is text[start, end), byte by byte, or undefined. */
  find(text: Uint8Array, start: number, end: number): T | undefined {
    const slot = this.slots[slotOf(text, start, end)];
    for (let i = 0; i < slot.length; i++) {
      const entry = slot[i];
      if (sameBytes(entry.nameBytes, text, start, end)) return entry;
    }
    return undefined;
  }
}

const SLOTS = 64;

const slotOf = (text: Uint8Array, start: number, end: number): number =>
  start === end ? 0 : ((end - start) * 7 + text[start] * 3 + text[end - 1]) & (SLOTS - 1);

function sameBytes(name: Uint8Array, text: Uint8Array, start: number, end: number): boolean {
  if (name.length !== end - start) return false;
  for (let i = 0; i < name.length; i++) if (name[i] !== text[start + i]) return false;
  return true;
}
