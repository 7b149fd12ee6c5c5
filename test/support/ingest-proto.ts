/** Messages of thermocline.ingest.v1, read and written by protobufjs from the interface file. */
import { join } from 'node:path';
import { Root } from 'protobufjs';

const PROTO = join(__dirname, '..', '..', 'proto');
const root = new Root();
root.resolvePath = (_origin, target) =>
  target.startsWith('google/') ? join(__dirname, '..', '..', 'node_modules', 'protobufjs', target) : join(PROTO, target);
root.loadSync('thermocline/ingest/v1/ingest.proto').resolveAll();

/** A message in the form of its fields; 64-bit numbers as decimal strings or numbers. */
export function encodeIngest(type: string, message: object): Buffer {
  const messageType = root.lookupType(`thermocline.ingest.v1.${type}`);
  return Buffer.from(messageType.encode(messageType.fromObject(message)).finish());
}

/** Fields that are set; 64-bit numbers as decimal strings, enums as names. */
export function decodeIngest(type: string, bytes: Uint8Array): Record<string, unknown> {
  const messageType = root.lookupType(`thermocline.ingest.v1.${type}`);
  return messageType.toObject(messageType.decode(bytes), { longs: String, enums: String });
}
