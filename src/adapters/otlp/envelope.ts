/**
 * What the three signals share: Export*ServiceRequest > Resource* (resource 1, scope_* 2, schema_url 3) > Scope* (scope 1,
 * rows 2, schema_url 3). Fields may come in any order, so a block is first scanned for what stands above its rows.
 */

import type { Wire } from '../wire';
import { RESOURCE, requireUtf8, SCOPE, validate } from './validate';

const TAG = { resources: 0x0a, origin: 0x0a, children: 0x12, schemaUrl: 0x1a } as const;

/** A range of the body; empty when start === end. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** One Resource* or Scope* message: the pieces of its resource or scope (a message may come in pieces, PB3). */
export interface Block {
  readonly pieces: readonly Range[];
  readonly schemaUrl: Range;
}

/** Where rows come from. The same object for all rows of a Scope* message. */
export interface Origin {
  readonly resource: Block;
  readonly scope: Block;
}

export interface EnvelopeVisitor {
  /** One LogRecord, Span or Metric. */
  row(start: number, end: number): void;
  /** The rows since the last call came from here. */
  endScope(origin: Origin): void;
}

/** Walks a whole request. Throws IngestError `invalid_argument`. */
export function walkEnvelope(wire: Wire, visitor: EnvelopeVisitor): void {
  const end = wire.bytes.length;
  let p = 0;
  while (p < end) {
    p = wire.tag(p, end);
    if (wire.low === TAG.resources) {
      p = wire.open(p, end);
      const { stop } = wire;
      walkResource(wire, p, stop, visitor);
      p = stop;
    } else p = wire.skip(wire.low, p, end);
  }
}

function walkResource(wire: Wire, start: number, end: number, visitor: EnvelopeVisitor): void {
  const resource = scanBlock(wire, start, end);
  for (const piece of resource.pieces) validate(wire, piece.start, piece.end, RESOURCE);
  let p = start;
  while (p < end) {
    p = wire.tag(p, end);
    if (wire.low === TAG.children) {
      p = wire.open(p, end);
      const { stop } = wire;
      walkScope(wire, p, stop, resource, visitor);
      p = stop;
    } else p = wire.skip(wire.low, p, end);
  }
}

function walkScope(wire: Wire, start: number, end: number, resource: Block, visitor: EnvelopeVisitor): void {
  const { bytes } = wire;
  const scope = new BlockScan();
  let p = start;
  while (p < end) {
    const at = bytes[p] < 0x80 ? p + 1 : wire.tag(p, end);
    if ((bytes[p] < 0x80 ? bytes[p] : wire.low) === TAG.children) {
      p = wire.open(at, end);
      const { stop } = wire;
      visitor.row(p, stop);
      p = stop;
    } else p = scope.field(wire, p, end);
  }
  for (const piece of scope.pieces) validate(wire, piece.start, piece.end, SCOPE);
  visitor.endScope({ resource, scope });
}

export const EMPTY_RANGE: Range = { start: 0, end: 0 };

/** Collects the pieces and the schema URL of a block; the last URL counts, all are checked. */
class BlockScan implements Block {
  readonly pieces: Range[] = [];
  schemaUrl = EMPTY_RANGE;

  /** Reads the field at `p`, whose children are skipped. */
  field(wire: Wire, p: number, end: number): number {
    const at = wire.tag(p, end);
    if (wire.low !== TAG.origin && wire.low !== TAG.schemaUrl) return wire.skip(wire.low, at, end);
    const isUrl = wire.low === TAG.schemaUrl;
    const start = wire.open(at, end);
    const { stop } = wire;
    if (isUrl) {
      requireUtf8(wire, start, stop);
      this.schemaUrl = { start, end: stop };
    } else this.pieces.push({ start, end: stop });
    return stop;
  }
}

function scanBlock(wire: Wire, start: number, end: number): Block {
  const scan = new BlockScan();
  let p = start;
  while (p < end) p = scan.field(wire, p, end);
  return scan;
}
