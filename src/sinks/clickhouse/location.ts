/** Where a ClickHouse is: `http[s]://[user[:password]@]host[:port][/database]`, or `?database=`, `?user=`, `?password=`. */
export interface Location {
  /** Scheme, host and port. */
  readonly origin: string;
  readonly database: string;
  readonly username: string;
  readonly password: string;
}

const PARAMETERS = ['database', 'user', 'password'] as const;

/** Throws TypeError for a URL that is none, or that holds what we would silently ignore. */
export function parseLocation(text: string): Location {
  // The error of `new URL` would carry the text, and with it a password.
  if (!URL.canParse(text)) throw new TypeError('the clickhouse url is not a url');
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new TypeError(`the clickhouse url must begin with http:// or https://, not ${url.protocol}`);
  }
  for (const name of url.searchParams.keys()) {
    if (!PARAMETERS.some((known) => known === name)) throw new TypeError(`unknown parameter ${name} in the clickhouse url`);
  }
  const path = url.pathname.replace(/^\/|\/$/g, '');
  if (path.includes('/')) throw new TypeError('the path of the clickhouse url must be one database name');
  return {
    origin: url.origin,
    database: url.searchParams.get('database') ?? (path === '' ? 'default' : decodeURIComponent(path)),
    username: url.searchParams.get('user') ?? (url.username === '' ? 'default' : decodeURIComponent(url.username)),
    password: url.searchParams.get('password') ?? decodeURIComponent(url.password),
  };
}
