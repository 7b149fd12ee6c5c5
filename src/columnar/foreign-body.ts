/**
 * The body of a record batch or dictionary message, uncompressed whatever came (Arrow `Message.fbs`, BodyCompression): each
 * compressed buffer begins with the length of its content, int64, -1 for one that is stored as it is. An unpacked body has its
 * buffers end to end, each at a multiple of 8.
 */
import type { FlatTable } from './flatbuffer';
import type { RequestBudget } from './foreign-budget';
import { type BatchSource, checkLayout } from './foreign-buffers';
import { corrupt } from './foreign-error';
import { unlz4Into } from './lz4-frame';
import { unzstdInto } from './zstd-frame';

const BATCH = { nodes: 1, buffers: 2, compression: 3, variadic: 4 } as const;
const COMPRESSION = { codec: 0, method: 1 } as const;
/** BodyCompressionMethod: each buffer by itself. */
const BUFFER = 0;
const LENGTH_BYTES = 8;
const STORED = -1n;

/** Fills the room with what is in the bytes, exactly. */
type Unpack = (bytes: Uint8Array, room: Uint8Array) => void;

/** By CompressionType. */
const CODECS: readonly (Unpack | undefined)[] = [unlz4Into, unzstdInto];

/** Nodes, buffers and body of a RecordBatch table; the body may view `body`. Throws IngestError. */
export function readSource(batch: FlatTable, body: Uint8Array, budget: RequestBudget): BatchSource {
  const buffers = batch.int64Pairs(BATCH.buffers);
  checkLayout({ body, buffers });
  const fields = { nodes: batch.int64Pairs(BATCH.nodes), variadic: batch.int64s(BATCH.variadic) };
  const compression = batch.table(BATCH.compression);
  if (compression === undefined) return { body, buffers, ...fields };
  const unpack = CODECS[compression.uint8(COMPRESSION.codec, 0)];
  if (unpack === undefined || compression.uint8(COMPRESSION.method, BUFFER) !== BUFFER) {
    throw corrupt('the body is compressed in an unknown way');
  }
  return { ...unpackBody(body, buffers, unpack, budget), ...fields };
}

function unpackBody(
  body: Uint8Array,
  packed: Float64Array,
  unpack: Unpack,
  budget: RequestBudget,
): Pick<BatchSource, 'body' | 'buffers'> {
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const buffers = new Float64Array(packed.length);
  let total = 0;
  for (let i = 0; i < packed.length; i += 2) {
    buffers[i] = total;
    buffers[i + 1] = contentBytes(view, packed[i], packed[i + 1]);
    total += Math.ceil(buffers[i + 1] / 8) * 8;
  }
  budget.takeBytes(total);
  const room = new Uint8Array(total);
  for (let i = 0; i < packed.length; i += 2) {
    if (buffers[i + 1] === 0 && packed[i + 1] <= LENGTH_BYTES) continue;
    const content = body.subarray(packed[i] + LENGTH_BYTES, packed[i] + packed[i + 1]);
    const target = room.subarray(buffers[i], buffers[i] + buffers[i + 1]);
    if (view.getBigInt64(packed[i], true) === STORED) target.set(content);
    else unpack(content, target);
  }
  return { body: room, buffers };
}

/** What the buffer says that it unpacks to. */
function contentBytes(view: DataView, at: number, length: number): number {
  // Where nothing is, nothing need say so.
  if (length === 0) return 0;
  if (length < LENGTH_BYTES) throw corrupt('a compressed buffer is too short');
  const declared = view.getBigInt64(at, true);
  if (declared === STORED) return length - LENGTH_BYTES;
  if (declared < 0n) throw corrupt('a compressed buffer declares a negative length');
  return Number(declared);
}
