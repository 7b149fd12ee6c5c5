/** The part of fs-native-extensions that the WAL uses; the package has no types of its own. */
declare module 'fs-native-extensions' {
  export function tryLock(fd: number): boolean;
  export function unlock(fd: number): void;
}
