/** Protobuf messages of Flight and Flight SQL, field by field (rules PB1-PB5 of the wire format). */
import { Reader } from 'protobufjs/minimal';
import { IngestError } from '../../core/errors';

/** What stands behind a tag. */
export interface Field {
  readonly number: number;
  /** A length-delimited value: a view into the message. */
  bytes(): Buffer;
  /** A length-delimited value as text; broken UTF-8 is an error (PB5). */
  text(): string;
  /** A varint, of which the low 32 bits are wanted. */
  uint32(): number;
  bool(): boolean;
  /** Repeated varints, packed or one by one (PB2). */
  uint32List(): number[];
}

const WIRE = { varint: 0, bytes: 2 } as const;
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The error of a message that is not what it claims to be. */
export const malformed = (what: string, cause?: unknown): IngestError =>
  new IngestError('invalid_argument', `flight: ${what}`, { cause });

/**
 * Calls `take` with each field in the order of the wire. A field that `take` does not read is skipped; one that it reads twice
 * is an error of ours. Throws IngestError `invalid_argument` for broken bytes and for a known field of the wrong wire type.
 */
export function readFields(message: Uint8Array, name: string, take: (field: Field) => void): void {
  const reader = Reader.create(message);
  try {
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      const field = new CurrentField(reader, tag >>> 3, tag & 7, name);
      if (field.number === 0) throw malformed(`${name} has a field number 0`);
      take(field);
      if (!field.isRead) reader.skipType(field.wireType, 0, field.number);
    }
  } catch (error) {
    if (error instanceof IngestError) throw error;
    throw malformed(`${name} is not a protobuf message`, error);
  }
}

class CurrentField implements Field {
  isRead = false;

  constructor(
    private readonly reader: Reader,
    readonly number: number,
    readonly wireType: number,
    private readonly name: string,
  ) {}

  bytes(): Buffer {
    this.expect(WIRE.bytes);
    return this.reader.bytes() as Buffer;
  }

  text(): string {
    const bytes = this.bytes();
    try {
      return UTF8.decode(bytes);
    } catch (error) {
      throw malformed(`field ${this.number} of ${this.name} is not UTF-8`, error);
    }
  }

  uint32(): number {
    this.expect(WIRE.varint);
    return this.reader.uint32();
  }

  bool(): boolean {
    this.expect(WIRE.varint);
    return this.reader.bool();
  }

  uint32List(): number[] {
    if (this.wireType === WIRE.varint) return [this.uint32()];
    const packed = Reader.create(this.bytes());
    const values: number[] = [];
    while (packed.pos < packed.len) values.push(packed.uint32());
    return values;
  }

  private expect(wireType: number): void {
    if (this.wireType !== wireType) throw malformed(`field ${this.number} of ${this.name} has the wrong wire type`);
    this.isRead = true;
  }
}
