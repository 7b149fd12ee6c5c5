/** The two forms of the Flight handshake with user and password (FL10). */
import { Metadata, type ServerDuplexStream } from '@grpc/grpc-js';
import { IngestError } from '../../core/errors';
import { arrivingOf } from '../grpc-call-guard';
import { grpcServiceError } from '../grpc-status';
import { readBasicAuth, readHandshake, writeHandshakeResponse } from './messages';

/** The bearer token for a user. Throws IngestError `unauthenticated`. */
export type Login = (user: string, password: string) => string;

/** Without authentication everybody may come in, and gets a token that means nothing. */
export const openLogin: Login = () => 'anonymous';

export function handshake(call: ServerDuplexStream<Buffer, Buffer>, login: Login): void {
  const refuse = (reason: unknown): void => {
    call.emit('error', grpcServiceError(IngestError.from(reason)));
  };
  let token: string | undefined;
  try {
    const [header] = call.metadata.get('authorization');
    if (header !== undefined) token = tokenFor(String(header), login);
  } catch (error) {
    refuse(error);
    return;
  }
  if (token !== undefined) {
    const headers = new Metadata();
    headers.set('authorization', `Bearer ${token}`);
    call.sendMetadata(headers);
  }
  const arriving = arrivingOf(call.metadata);
  call.on('data', (message: Buffer) => {
    arriving?.taken();
    try {
      const payload = readHandshake(message);
      const basic = readBasicAuth(payload);
      const granted = token ?? login(basic?.user ?? '', basic?.password ?? '');
      call.write(writeHandshakeResponse(Buffer.from(granted)));
    } catch (error) {
      call.pause();
      refuse(error);
    }
  });
  // The stream may end without a single message.
  call.on('end', () => call.end());
}

function tokenFor(header: string, login: Login): string {
  const [scheme = '', value = ''] = header.split(' ');
  if (scheme.toLowerCase() === 'bearer') return value;
  if (scheme.toLowerCase() !== 'basic') throw new IngestError('unauthenticated', 'authorization must be Basic or Bearer');
  // Some clients leave the padding out; Node takes both.
  const text = Buffer.from(value, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon < 0) throw new IngestError('unauthenticated', 'the basic credentials hold no colon');
  return login(text.slice(0, colon), text.slice(colon + 1));
}
