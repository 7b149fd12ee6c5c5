import { namedRows } from '../../src/adapters/grpc/decode';
import { readWrite } from '../../src/adapters/grpc/write-request';
import { checkTableName, decodeForTable } from '../../src/adapters/schema-on-write';
import type { DecodedRequest } from '../../src/core/batch';
import { encodeIngest } from './ingest-proto';
import { MemoryRegistry } from './recording-ingest';

/** When requests of `decodeWrite` arrive. */
export const ARRIVAL_NS = 7n;

/** A `WriteRequest`, as fields or as bytes, decoded under the schemas of a registry. */
export async function decodeWrite(request: object | Buffer, registry = new MemoryRegistry()): Promise<DecodedRequest> {
  const write = readWrite(Buffer.isBuffer(request) ? request : encodeIngest('WriteRequest', request));
  return decodeForTable(registry, checkTableName(write.table), namedRows(write, { arrivalNs: ARRIVAL_NS }));
}
