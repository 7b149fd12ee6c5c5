/**
 * OTLP/JSON to the protobuf wire form of the same request, in one pass and without an object per row (rules OJ1-OJ12).
 * The columnar decoder then sees one form only. What is settled here:
 * - unknown members are skipped with any value (OJ4), also snake_case names (OJ5); null is absent (OJ8)
 * - a scalar member that comes twice: the last one counts, as in protobuf; a message, an array or a member of a oneof that comes
 *   twice is refused, because on the wire two messages would melt into one (OJ10)
 * - every present value is written, zero or not, so that presence survives (OJ11)
 * - ids are hex in any case (OJ1); text that is not hex becomes one byte, an id that is present and invalid, so that only
 *   its span is
 *   refused (OD2)
 * Throws IngestError `invalid_argument` with the byte position, never anything else.
 */
import { LIMITS } from '../../core/limits';
import { decodeBase64 } from '../base64';
import {
  type Int64Halves,
  isNumberText,
  type NumberProblem,
  namedDouble,
  parseDouble,
  parseInt64,
  parseUint64,
} from '../json-number';
import { hexDigit, JSON_BYTE, JsonReader } from '../json-reader';
import { FIELD_KIND, type Field, type MessageType, messageType } from './json-fields';
import { ProtobufWriter } from './protobuf-writer';

/** One level of AnyValue is at most four levels of JSON; 20 more stand around it. The decoder counts the AnyValues themselves. */
const JSON_DEPTH_MAX = LIMITS.nestingDepthMax * 4 + 20;
/**
 * From this message depth on room for the longest prefix is left, so that deep nesting cannot make bytes move again and again.
 */
const DEEP = 16;
const LENGTH_WIDTH_MAX = 5;

export const transcodeLogs = (body: Uint8Array): Uint8Array => transcode(body, messageType('ExportLogsServiceRequest'));
export const transcodeTraces = (body: Uint8Array): Uint8Array => transcode(body, messageType('ExportTraceServiceRequest'));
export const transcodeMetrics = (body: Uint8Array): Uint8Array => transcode(body, messageType('ExportMetricsServiceRequest'));

function transcode(body: Uint8Array, type: MessageType): Uint8Array {
  const transcoder = new Transcoder(body);
  return transcoder.request(type);
}

class Transcoder {
  private readonly reader: JsonReader;
  private readonly writer: ProtobufWriter;
  private readonly int: Int64Halves = { low: 0, high: 0 };
  /** Message depth. */
  private depth = 0;
  private id = new Uint8Array(16);

  constructor(body: Uint8Array) {
    this.reader = new JsonReader(body, JSON_DEPTH_MAX);
    this.writer = new ProtobufWriter(body.length >> 1);
  }

  request(type: MessageType): Uint8Array {
    if (this.reader.peek() !== JSON_BYTE.openObject) this.reader.unexpected('an object');
    this.message(type);
    this.reader.expectEnd();
    return this.writer.finish();
  }

  /** After `{` was peeked: writes the fields of one message. */
  private message(type: MessageType): void {
    const { reader } = this;
    let seen = 0;
    let previous: Field | undefined;
    reader.beginObject();
    for (let first = true; ; first = false) {
      // Senders write the members of a message in the same order again and again.
      const guess: Field | undefined = previous === undefined ? type.first : previous.next;
      let field: Field | undefined;
      if (guess !== undefined && reader.tryMember(first, guess.memberBytes)) {
        field = guess;
      } else {
        if (!reader.nextMember(first)) return;
        field = type.find(reader.text, reader.textStart, reader.textEnd);
        if (field === undefined) {
          this.skipUnknown();
          continue;
        }
        if (previous === undefined) type.first = field;
        else previous.next = field;
      }
      previous = field;
      const byte = reader.peek();
      if (byte === JSON_BYTE.n) {
        reader.word();
        continue;
      }
      if (field.onlyOnce && (seen & field.seenBit) !== 0) this.refuseSecond(field, type);
      seen |= field.seenBit;
      if (field.repeated) this.repeated(field, byte);
      else this.single(field, byte);
    }
  }

  private skipUnknown(): void {
    this.reader.resetScratch();
    this.reader.peek();
    this.reader.skipValue();
  }

  private refuseSecond(field: Field, type: MessageType): never {
    if (field.inOneof) this.reader.fail(`${field.name} is a second value of ${type.name}, which takes one`);
    this.reader.fail(`${field.name} comes twice in ${type.name}`);
  }

  private repeated(field: Field, byte: number): void {
    const { reader, writer } = this;
    if (byte !== JSON_BYTE.openArray) this.mismatch(field, 'an array');
    reader.beginArray();
    const packed = field.kind !== FIELD_KIND.message && field.kind !== FIELD_KIND.string;
    const start = packed ? writer.beginLength(field.number, 1) : 0;
    let first = true;
    for (; reader.nextElement(first); first = false) {
      const next = reader.peek();
      if (next === JSON_BYTE.n) this.mismatch(field, 'an array without null');
      if (packed) this.packed(field, next);
      else this.single(field, next);
    }
    if (packed) writer.endLength(start, 1);
  }

  /** A field that is not repeated, or one element of a field that is not packed. */
  private single(field: Field, byte: number): void {
    const { reader, writer, int } = this;
    reader.resetScratch();
    switch (field.kind) {
      case FIELD_KIND.message:
        this.submessage(field, byte);
        break;
      case FIELD_KIND.string:
        if (byte !== JSON_BYTE.quote) this.mismatch(field, 'a string');
        reader.string();
        writer.lengthDelimited(field.number, reader.text, reader.textStart, reader.textEnd);
        break;
      case FIELD_KIND.id:
        this.hexId(field, byte);
        break;
      case FIELD_KIND.bytes:
        this.base64(field, byte);
        break;
      case FIELD_KIND.bool:
        if (byte !== JSON_BYTE.t && byte !== JSON_BYTE.f) this.mismatch(field, 'true or false');
        reader.word();
        writer.varintField(field.number, byte === JSON_BYTE.t ? 1 : 0, 0);
        break;
      case FIELD_KIND.double:
        writer.doubleField(field.number, this.double(field, byte));
        break;
      case FIELD_KIND.fixed64:
      case FIELD_KIND.sfixed64:
        this.integer(field, byte);
        writer.fixed64Field(field.number, int.low, int.high);
        break;
      case FIELD_KIND.fixed32:
        this.integer(field, byte);
        writer.fixed32Field(field.number, int.low);
        break;
      case FIELD_KIND.enum:
        this.enumValue(field, byte);
        writer.varintField(field.number, int.low, int.high);
        break;
      case FIELD_KIND.int64:
      case FIELD_KIND.uint64:
      case FIELD_KIND.uint32:
      case FIELD_KIND.sint32:
        this.integer(field, byte);
        writer.varintField(field.number, int.low, int.high);
    }
  }

  private packed(field: Field, byte: number): void {
    const { writer, int } = this;
    this.reader.resetScratch();
    if (field.kind === FIELD_KIND.double) {
      writer.packedDouble(this.double(field, byte));
      return;
    }
    this.integer(field, byte);
    if (field.kind === FIELD_KIND.fixed64) writer.packedFixed64(int.low, int.high);
    else writer.packedVarint(int.low, int.high);
  }

  private submessage(field: Field, byte: number): void {
    if (byte !== JSON_BYTE.openObject) this.mismatch(field, 'an object');
    const type = field.message!;
    const width = this.depth < DEEP ? type.lengthWidth : LENGTH_WIDTH_MAX;
    const start = this.writer.beginLength(field.number, width);
    this.depth++;
    this.message(type);
    this.depth--;
    const needed = this.writer.endLength(start, width);
    if (this.depth < DEEP) type.lengthWidth = needed;
  }

  /** Reads a bare or quoted number as `reader.text`; false when it is neither. */
  private numberText(byte: number): boolean {
    const { reader } = this;
    if (byte === JSON_BYTE.quote) {
      reader.string();
      return isNumberText(reader.text, reader.textStart, reader.textEnd);
    }
    if (byte !== JSON_BYTE.minus && (byte < 0x30 || byte > 0x39)) return false;
    reader.number();
    return true;
  }

  /** `int` = the field's integer as it goes onto the wire (OJ6). */
  private integer(field: Field, byte: number): void {
    const { reader, int } = this;
    if (!this.numberText(byte)) this.mismatch(field, 'an integer');
    const { text, textStart, textEnd } = reader;
    const signed = field.kind === FIELD_KIND.int64 || field.kind === FIELD_KIND.sfixed64 || field.kind === FIELD_KIND.sint32;
    let problem: NumberProblem | undefined = signed
      ? parseInt64(text, textStart, textEnd, int)
      : parseUint64(text, textStart, textEnd, int);
    if (problem === undefined) {
      if (field.kind === FIELD_KIND.sint32) {
        if (int.high !== (int.low >> 31) >>> 0) problem = 'out_of_range';
        int.low = ((int.low << 1) ^ (int.low >> 31)) >>> 0;
        int.high = 0;
      } else if ((field.kind === FIELD_KIND.uint32 || field.kind === FIELD_KIND.fixed32) && int.high !== 0) {
        problem = 'out_of_range';
      }
    }
    if (problem !== undefined) this.mismatch(field, problem === 'out_of_range' ? 'a number in its range' : 'an integer');
  }

  /** Numbers, quoted numbers, and the three names (OJ7). */
  private double(field: Field, byte: number): number {
    const { reader } = this;
    if (this.numberText(byte)) {
      const value = parseDouble(reader.text, reader.textStart, reader.textEnd);
      if (!Number.isFinite(value)) this.mismatch(field, 'a number in its range');
      return value;
    }
    const named = byte === JSON_BYTE.quote ? namedDouble(reader.text, reader.textStart, reader.textEnd) : undefined;
    return named ?? this.mismatch(field, 'a number');
  }

  /** Numbers known or not, and the names of the .proto file (OJ3). `int` = its varint. */
  private enumValue(field: Field, byte: number): void {
    const { reader, int } = this;
    if (!this.numberText(byte)) {
      const name = byte === JSON_BYTE.quote ? Buffer.from(reader.text.subarray(reader.textStart, reader.textEnd)).toString() : '';
      int.low = field.names!.indexOf(name);
      int.high = 0;
      if (int.low < 0) this.mismatch(field, 'a number or a name of the enum');
      return;
    }
    const problem = parseInt64(reader.text, reader.textStart, reader.textEnd, int);
    if (problem !== undefined || int.high !== (int.low >> 31) >>> 0) this.mismatch(field, 'a 32-bit integer');
  }

  private hexId(field: Field, byte: number): void {
    const { reader } = this;
    if (byte !== JSON_BYTE.quote) this.mismatch(field, 'a string of hex digits');
    reader.string();
    const { text, textStart, textEnd } = reader;
    let count = (textEnd - textStart) >> 1;
    let valid = (textEnd - textStart) % 2 === 0;
    if (count > this.id.length) this.id = new Uint8Array(count);
    for (let i = 0; i < count && valid; i++) {
      const high = hexDigit(text[textStart + i * 2]);
      const low = hexDigit(text[textStart + i * 2 + 1]);
      valid = high >= 0 && low >= 0;
      this.id[i] = (high << 4) | low;
    }
    if (!valid) {
      count = 1;
      this.id[0] = 0;
    }
    this.writer.lengthDelimited(field.number, this.id, 0, count);
  }

  private base64(field: Field, byte: number): void {
    const { reader } = this;
    if (byte !== JSON_BYTE.quote) this.mismatch(field, 'a base64 string');
    reader.string();
    const bytes = decodeBase64(reader.text, reader.textStart, reader.textEnd);
    if (bytes === undefined) this.mismatch(field, 'a base64 string');
    this.writer.lengthDelimited(field.number, bytes, 0, bytes.length);
  }

  private mismatch(field: Field, wanted: string): never {
    this.reader.fail(`${field.name} must be ${wanted}`);
  }
}
