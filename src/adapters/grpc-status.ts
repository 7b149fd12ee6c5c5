import { Metadata, type ServiceError, type StatusObject } from '@grpc/grpc-js';
import type { IngestError } from '../core/errors';
import { encodeStatus, STATUS, type StatusDetails, statusMessage } from './status';

const DETAILS_KEY = 'grpc-status-details-bin';
const ACCEPT_ENCODING_KEY = 'grpc-accept-encoding';

/** Trailers with `-bin` values in base64 without padding, as senders should (GR4); the library pads. */
export class StatusMetadata extends Metadata {
  /** `reason`: what the status is about, for the listener's log. */
  constructor(readonly reason: IngestError) {
    super();
  }

  override clone(): StatusMetadata {
    const copy = new StatusMetadata(this.reason);
    for (const key of Object.keys(this.getMap())) for (const value of this.get(key)) copy.add(key, value);
    return copy;
  }

  override toHttp2Headers(): ReturnType<Metadata['toHttp2Headers']> {
    const headers = super.toHttp2Headers();
    const details = headers[DETAILS_KEY];
    if (typeof details === 'string') headers[DETAILS_KEY] = details.replace(/=+$/, '');
    return headers;
  }
}

/** The status of a failed call: code, text, and `google.rpc.Status` in `grpc-status-details-bin` (OG5). */
export function grpcStatus(error: IngestError, more?: StatusDetails): StatusObject {
  const metadata = new StatusMetadata(error);
  metadata.set(DETAILS_KEY, encodeStatus(error, more));
  // GR5: a client must be told what it may use instead.
  if (error.code === 'unsupported_encoding') metadata.set(ACCEPT_ENCODING_KEY, 'identity,deflate,gzip');
  return { code: STATUS[error.code].grpc, details: statusMessage(error), metadata };
}

/** The same as an error for a handler's callback. */
export function grpcServiceError(error: IngestError, more?: StatusDetails): ServiceError {
  return Object.assign(new Error(error.message), grpcStatus(error, more));
}
