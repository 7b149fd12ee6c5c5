import { InternedBuilder } from '../../columnar/interned';

/** An enum as lower-case names; a number that has no name as its decimal digits (enums of proto3 are open). */
export class EnumColumn {
  readonly builder: InternedBuilder;

  constructor(
    private readonly names: readonly string[],
    capacity?: number,
  ) {
    this.builder = new InternedBuilder(capacity, names);
  }

  append(value: number): void {
    this.builder.appendId(this.idOf(value));
  }

  appendRun(value: number, count: number): void {
    this.builder.appendRun(this.idOf(value), count);
  }

  private idOf(value: number): number {
    return value >= 0 && value < this.names.length ? value : this.builder.interner.internString(String(value));
  }
}
