import type { ClickHouseServerOptions } from './server';

/** First argument of the child, as JSON. */
export type ChildOptions = ClickHouseServerOptions;

/** From the child to its parent. The parent sends the text `stop`. */
export type ChildMessage =
  | { readonly type: 'ready'; readonly port: number }
  | { readonly type: 'failed'; readonly message: string };
