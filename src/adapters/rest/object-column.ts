import type { BytesBuilder } from '../../columnar/bytes-builder';
import { type CellProblem, mismatch } from '../cell-problem';
import type { JsonReader } from '../json-reader';
import { Column, refuse } from './columns';

/**
 * A side column (core/table-schema.ts): one JSON object a row, of members that are put there one by one. The last of a name
 * counts.
 */
export class ObjectColumn extends Column<BytesBuilder> {
  private readonly members = new Map<string, string>();

  /** Rows do not name it. */
  read(reader: JsonReader): CellProblem | undefined {
    return refuse(reader, mismatch('another name'));
  }

  /** Adds a member whose value is the JSON text `bytes[start, end)`. */
  add(name: string, bytes: Uint8Array, start: number, end: number): void {
    this.members.set(name, Buffer.from(bytes.subarray(start, end)).toString());
    this.isSet = true;
  }

  protected append(): void {
    const members = Array.from(this.members, ([name, value]) => `${JSON.stringify(name)}:${value}`);
    this.builder.appendString(`{${members.join(',')}}`);
    this.members.clear();
  }

  override drop(): void {
    super.drop();
    this.members.clear();
  }
}
