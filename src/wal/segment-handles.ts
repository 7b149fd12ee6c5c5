import type { Segment } from './segment';
import type { Storage, StorageFile } from './storage';

/** Files kept open for reading when nobody reads: one for each sink and some for queries. */
const IDLE_HANDLES_MAX = 4;

interface Handle {
  readonly file: Promise<StorageFile>;
  users: number;
  onIdle: (() => void) | undefined;
}

/** Open files of segments for readers, so that following the log does not open a file for each read. */
export class SegmentHandles {
  private readonly storage: Storage;
  private readonly handles = new Map<Segment, Handle>();
  private readonly retired = new WeakSet<Segment>();

  constructor(storage: Storage) {
    this.storage = storage;
  }

  /** Runs `use` with the segment's file, which stays open and in place until it is done. */
  async use<T>(segment: Segment, use: (file: StorageFile) => Promise<T>): Promise<T> {
    if (this.retired.has(segment)) throw new Error('the wal segment was released');
    let handle = this.handles.get(segment);
    if (handle === undefined) handle = { file: this.storage.open(segment.path, 'read'), users: 0, onIdle: undefined };
    // Set again: the map is in the order of last use.
    this.handles.delete(segment);
    this.handles.set(segment, handle);
    handle.users++;
    try {
      return await use(await handle.file);
    } catch (error) {
      // A file that could not be opened is tried again by the next reader.
      await handle.file.catch(() => this.handles.delete(segment));
      throw error;
    } finally {
      handle.users--;
      if (handle.users === 0) handle.onIdle?.();
      await this.trim();
    }
  }

  /** Waits until nobody reads the segment and closes its file. No reader gets it afterwards. */
  async retire(segment: Segment): Promise<void> {
    this.retired.add(segment);
    const handle = this.handles.get(segment);
    if (handle === undefined) return;
    if (handle.users > 0) await new Promise<void>((resolve) => (handle.onIdle = resolve));
    this.handles.delete(segment);
    await closeQuietly(handle);
  }

  async close(): Promise<void> {
    for (const segment of this.handles.keys()) await this.retire(segment);
  }

  private async trim(): Promise<void> {
    let idle = 0;
    for (const [segment, handle] of [...this.handles].toReversed()) {
      if (handle.users > 0 || ++idle <= IDLE_HANDLES_MAX) continue;
      this.handles.delete(segment);
      await closeQuietly(handle);
    }
  }
}

/** A file open for reading only: nothing is lost when it cannot be closed. */
async function closeQuietly(handle: Handle): Promise<void> {
  await handle.file.then((file) => file.close()).catch(() => undefined);
}
