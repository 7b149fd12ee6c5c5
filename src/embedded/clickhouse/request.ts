/** What one HTTP request asks for: URL parameters, headers, credentials. Pure. */
import type { IncomingHttpHeaders } from 'node:http';
import { identifier, literal } from '../../core/clickhouse-sql';
import { refuse } from './exception';

export interface QueryRequest {
  /** The `query` parameter; the body follows it after a line end. */
  readonly query: string | undefined;
  readonly database: string;
  readonly defaultFormat: string;
  readonly queryId: string | undefined;
  readonly session:
    | { readonly id: string; readonly timeoutMs: number; readonly check: boolean; readonly close: boolean }
    | undefined;
  readonly settings: ReadonlyMap<string, string>;
  /** `param_x` without its prefix. */
  readonly parameters: ReadonlyMap<string, string>;
  readonly user: string;
  readonly password: string;
  readonly clientProtocolVersion: number;
}

const DEFAULT_SESSION_TIMEOUT_S = 60;
const MAX_SESSION_TIMEOUT_S = 3600;
const NAME = /^[A-Za-z_][A-Za-z0-9_.]*$/;

/** Parameters of the interface that are no settings; those without a meaning here are accepted and ignored. */
const IGNORED = new Set(['quota_key', 'buffer_size', 'wait_end_of_query', 'stacktrace', 'role', 'framing']);
const FLAGS_REFUSED: Readonly<Record<string, string>> = {
  compress: 'compress=1 (the native compressed stream); use Accept-Encoding with enable_http_compression=1',
  decompress: 'decompress=1 (the native compressed stream); use Content-Encoding',
};

/** Throws ClickHouseException for what cannot be understood. `form` holds the fields of a multipart body. */
export function readRequest(url: URL, headers: IncomingHttpHeaders, form: ReadonlyMap<string, string>): QueryRequest {
  const fields = [...url.searchParams, ...form];
  const settings = new Map<string, string>();
  const parameters = new Map<string, string>();
  const own = new Map<string, string>();
  for (const [name, value] of fields) {
    if (name.startsWith('param_')) parameters.set(checkedName(name.slice(6)), value);
    else if (OWN.has(name)) own.set(name, value);
    else if (Object.hasOwn(FLAGS_REFUSED, name)) refuseFlag(name, value);
    else if (!IGNORED.has(name)) settings.set(checkedName(name), value);
  }
  return {
    query: own.get('query'),
    database: own.get('database') ?? header(headers, 'x-clickhouse-database') ?? 'default',
    defaultFormat: header(headers, 'x-clickhouse-format') ?? own.get('default_format') ?? 'TabSeparated',
    queryId: own.get('query_id') || header(headers, 'x-clickhouse-query-id') || undefined,
    session: readSession(own),
    settings,
    parameters,
    clientProtocolVersion: Number(own.get('client_protocol_version') ?? 0) || 0,
    ...readCredentials(own, headers),
  };
}

const OWN = new Set([
  'query',
  'database',
  'default_format',
  'query_id',
  'session_id',
  'session_timeout',
  'session_check',
  'close_session',
  'user',
  'password',
  'client_protocol_version',
]);

function header(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function checkedName(name: string): string {
  if (!NAME.test(name)) throw refuse('BAD_ARGUMENTS', `Bad name of a setting or parameter: ${JSON.stringify(name)}`);
  return name;
}

function refuseFlag(name: string, value: string): void {
  if (value !== '0' && value !== '' && value !== 'false') {
    throw refuse('NOT_IMPLEMENTED', `The embedded server does not support ${FLAGS_REFUSED[name]}`);
  }
}

function readSession(own: ReadonlyMap<string, string>): QueryRequest['session'] {
  const id = own.get('session_id');
  if (id === undefined || id === '') return undefined;
  const timeoutS = Number(own.get('session_timeout') ?? DEFAULT_SESSION_TIMEOUT_S);
  if (!Number.isInteger(timeoutS) || timeoutS < 0 || timeoutS > MAX_SESSION_TIMEOUT_S) {
    throw refuse('INVALID_SESSION_TIMEOUT', `Invalid session timeout: '${own.get('session_timeout')}'`);
  }
  return { id, timeoutMs: timeoutS * 1000, check: own.get('session_check') === '1', close: own.get('close_session') === '1' };
}

function readCredentials(own: ReadonlyMap<string, string>, headers: IncomingHttpHeaders): { user: string; password: string } {
  const basic = /^Basic\s+(\S+)$/i.exec(headers.authorization ?? '')?.[1];
  if (basic !== undefined) {
    const text = Buffer.from(basic, 'base64').toString('utf8');
    const colon = text.indexOf(':');
    return { user: colon < 0 ? text : text.slice(0, colon), password: colon < 0 ? '' : text.slice(colon + 1) };
  }
  return {
    user: header(headers, 'x-clickhouse-user') ?? own.get('user') ?? 'default',
    password: header(headers, 'x-clickhouse-key') ?? own.get('password') ?? '',
  };
}

export interface Prologue {
  readonly request: QueryRequest;
  /** Value of the setting log_comment. */
  readonly logComment: string;
  readonly queryMemoryBytesMax: number;
  /** 2 for GET: settings may be changed, data may not. Undefined leaves it open. */
  readonly readonly: 1 | 2 | undefined;
}

/** The statements before the query: defaults of a server where chDB has others, then what the request asks for. */
export function prologueSql(prologue: Prologue): string {
  const { request } = prologue;
  const settings = new Map<string, string>([
    ['implicit_select', '0'],
    ['allow_introspection_functions', '0'],
    ['max_memory_usage', String(prologue.queryMemoryBytesMax)],
    ...request.settings,
    ['log_comment', prologue.logComment],
  ]);
  const readonly = prologue.readonly === undefined ? settings.get('readonly') : String(prologue.readonly);
  settings.delete('readonly');
  const parts = [setSql(settings)];
  if (request.parameters.size > 0) {
    parts.push(setSql(new Map([...request.parameters].map(([name, value]) => [`param_${name}`, value]))));
  }
  parts.push(`USE ${identifier(request.database)}`);
  // Last: nothing can be set after it.
  if (readonly !== undefined) parts.push(setSql(new Map([['readonly', readonly]])));
  return `${parts.join('; ')}; `;
}

function setSql(values: ReadonlyMap<string, string>): string {
  return `SET ${[...values].map(([name, value]) => `${name} = ${literal(value)}`).join(', ')}`;
}
