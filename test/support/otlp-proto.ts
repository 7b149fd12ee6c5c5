import { join } from 'node:path';
import { Root, type Type } from 'protobufjs';

const COLLECTOR = 'opentelemetry/proto/collector';

/** protobufjs over the .proto files of the repository: the other implementation that ours is compared with. */
export function otlpRoot(): Root {
  const root = new Root();
  root.resolvePath = (_origin, target) => join(__dirname, '../../proto', target);
  root.loadSync(['logs', 'trace', 'metrics'].map((signal) => `${COLLECTOR}/${signal}/v1/${signal}_service.proto`));
  root.resolveAll();
  return root;
}

/** Every message that a request type is made of, by its short name. */
export function typesBelow(top: Type, found: Map<string, Type> = new Map()): Map<string, Type> {
  if (found.has(top.name)) return found;
  found.set(top.name, top);
  for (const field of top.fieldsArray) {
    if (field.resolvedType !== null && 'fieldsArray' in field.resolvedType) typesBelow(field.resolvedType, found);
  }
  return found;
}

/** A message as plain values that compare exactly: 64-bit integers as digits, bytes as hex, enums as numbers. */
export function plainMessage(type: Type, bytes: Uint8Array): unknown {
  return bytesAsHex(type.toObject(type.decode(bytes), { longs: String, enums: Number, oneofs: true }));
}

function bytesAsHex(value: unknown): unknown {
  if (value instanceof Uint8Array) return { hex: Buffer.from(value).toString('hex') };
  if (Array.isArray(value)) return value.map(bytesAsHex);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, bytesAsHex(item)]));
}
