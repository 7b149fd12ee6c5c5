export type MediaType = 'protobuf' | 'json' | 'ndjson' | 'arrow';

const TYPES: ReadonlyMap<string, MediaType> = new Map([
  ['application/x-protobuf', 'protobuf'],
  ['application/json', 'json'],
  ['application/x-ndjson', 'ndjson'],
  ['application/ndjson', 'ndjson'],
  ['application/jsonl', 'ndjson'],
  ['application/vnd.apache.arrow.stream', 'arrow'],
]);

/** The kind of body a Content-Type names: case does not matter, parameters are ignored (OH3). */
export function mediaType(header: string | undefined): MediaType | undefined {
  if (header === undefined) return undefined;
  const exact = TYPES.get(header);
  if (exact !== undefined) return exact;
  const end = header.indexOf(';');
  return TYPES.get((end === -1 ? header : header.slice(0, end)).trim().toLowerCase());
}
