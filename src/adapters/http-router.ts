import { IngestError } from '../core/errors';
import type { HttpAdapter, HttpRoute } from './http-contract';

export interface RouteMatch {
  readonly adapter: HttpAdapter;
  readonly route: HttpRoute;
  readonly param: string;
}

/** A path that is known, with other methods. */
export interface MethodMismatch {
  readonly adapter: HttpAdapter;
  readonly allow: string;
}

type Methods = Map<string, RouteMatch>;

/** Finds routes: whole paths by look-up, then paths whose last segment is a parameter. */
export class HttpRouter {
  private readonly exact = new Map<string, Methods>();
  private readonly byPrefix = new Map<string, Methods>();

  constructor(adapters: readonly HttpAdapter[]) {
    for (const adapter of adapters) for (const route of adapter.routes) this.register(adapter, route);
  }

  private register(adapter: HttpAdapter, route: HttpRoute): void {
    const colon = route.path.indexOf('/:');
    const [table, key] = colon === -1 ? [this.exact, route.path] : [this.byPrefix, route.path.slice(0, colon + 1)];
    const methods = table.get(key) ?? new Map<string, RouteMatch>();
    if (methods.has(route.method)) throw new Error(`two adapters serve ${route.method} ${route.path}`);
    table.set(key, methods.set(route.method, { adapter, route, param: '' }));
  }

  /** Throws IngestError `invalid_argument` when the parameter is not valid percent-encoding. */
  find(method: string, path: string): RouteMatch | MethodMismatch | undefined {
    const exact = this.exact.get(path);
    if (exact !== undefined) return exact.get(method) ?? mismatch(exact);
    const slash = path.lastIndexOf('/') + 1;
    const methods = slash === path.length ? undefined : this.byPrefix.get(path.slice(0, slash));
    if (methods === undefined) return undefined;
    const match = methods.get(method);
    return match === undefined ? mismatch(methods) : { ...match, param: decodeSegment(path.slice(slash)) };
  }
}

function mismatch(methods: Methods): MethodMismatch {
  const [first] = methods.values();
  return { adapter: first.adapter, allow: [...methods.keys()].join(', ') };
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (error) {
    throw new IngestError('invalid_argument', 'path is not valid percent-encoding', { cause: error, at: 'path' });
  }
}

/** The path of a request target, without query; of the absolute form too (RFC 9112 section 3.2). */
export function pathOf(target: string): string {
  const query = target.indexOf('?');
  const path = query === -1 ? target : target.slice(0, query);
  if (path.startsWith('/')) return path;
  const authority = path.indexOf('://');
  const start = authority === -1 ? -1 : path.indexOf('/', authority + 3);
  return start === -1 ? '/' : path.slice(start);
}

/** The query of a request target. */
export function queryOf(target: string): URLSearchParams {
  const query = target.indexOf('?');
  return new URLSearchParams(query === -1 ? '' : target.slice(query + 1));
}
