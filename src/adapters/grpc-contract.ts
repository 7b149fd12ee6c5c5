import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import type { IngestError } from '../core/errors';
import type { Ingest } from '../core/ingest';

/** What a protocol registers at the gRPC listener. */
export interface GrpcService {
  /** Full name, `package.Service`: the key of its health status. */
  readonly name: string;
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
  /** Interface file below `proto/`, for reflection. */
  readonly protoFile: string;
  /**
   * For unary methods: the room for the message is reserved as its bytes arrive, and the handler takes it over with
   * `takeAdmission(call.metadata)`. `refused` is told of calls that end before the handler: no room, bad compression, too slow.
   */
  readonly admission?: { readonly ingest: Ingest; readonly refused: (error: IngestError) => void };
  /** The server stops: end streams that a client would hold open for ever. Calls that came whole may still finish. */
  readonly drain?: () => void;
}

/** Serializer of methods whose messages are bytes already. */
export const asBytes = (message: Buffer): Buffer => message;
