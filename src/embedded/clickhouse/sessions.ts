import type { Connection, Engine } from './engine';
import { refuse } from './exception';
import type { QueryRequest } from './request';

interface Session {
  readonly connection: Connection;
  busy: boolean;
  expiry: NodeJS.Timeout | undefined;
}

const SESSIONS_MAX = 1000;

export interface Lease {
  readonly connection: Connection;
  /** Gives the connection back: closed when it belongs to no session. */
  release(): void;
}

/** HTTP sessions: a connection that lives between requests, with its SET, USE and temporary tables. One request at a time. */
export class Sessions {
  private readonly engine: Engine;
  private readonly byKey = new Map<string, Session>();

  constructor(engine: Engine) {
    this.engine = engine;
  }

  lease(request: QueryRequest): Lease {
    const asked = request.session;
    if (asked === undefined) {
      const connection = this.engine.connect();
      return { connection, release: () => connection.close() };
    }
    const key = JSON.stringify([request.user, asked.id]);
    const session = this.byKey.get(key) ?? this.create(key, asked.id, asked.check);
    if (session.busy) throw refuse('SESSION_IS_LOCKED', `Session ${asked.id} is locked by a concurrent client`);
    session.busy = true;
    clearTimeout(session.expiry);
    return {
      connection: session.connection,
      release: () => {
        session.busy = false;
        if (asked.close) this.drop(key);
        else session.expiry = setTimeout(() => this.drop(key), asked.timeoutMs).unref();
      },
    };
  }

  closeAll(): void {
    for (const key of this.byKey.keys()) this.drop(key);
  }

  private create(key: string, id: string, check: boolean): Session {
    if (check) throw refuse('SESSION_NOT_FOUND', `Session ${id} not found`);
    if (this.byKey.size >= SESSIONS_MAX)
      throw refuse('TOO_MANY_SIMULTANEOUS_QUERIES', `Too many sessions. Maximum: ${SESSIONS_MAX}`);
    const session: Session = { connection: this.engine.connect(), busy: false, expiry: undefined };
    this.byKey.set(key, session);
    return session;
  }

  private drop(key: string): void {
    const session = this.byKey.get(key);
    if (session === undefined || session.busy) return;
    clearTimeout(session.expiry);
    this.byKey.delete(key);
    session.connection.close();
  }
}
