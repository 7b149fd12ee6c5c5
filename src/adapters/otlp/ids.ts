export const TRACE_ID_BYTES = 16;
export const SPAN_ID_BYTES = 8;

/** Is [start, end) an id: of this length and not all zero (trace.proto, logs.proto)? */
export function isId(view: DataView, start: number, end: number, length: number): boolean {
  if (end - start !== length) return false;
  for (let i = start; i < end; i += 4) if (view.getInt32(i) !== 0) return true;
  return false;
}
