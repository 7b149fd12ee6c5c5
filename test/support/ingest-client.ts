/** A client of IngestService whose messages are written and read by protobufjs. */
import { Client, type ClientDuplexStream, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { decodeIngest, encodeIngest } from './ingest-proto';
import { decodeRpcStatus, type RpcStatus } from './rpc-status';

const SERVICE = '/thermocline.ingest.v1.IngestService';
type Message = Record<string, unknown>;

export interface Failure {
  readonly code: number;
  readonly message: string;
  readonly status: RpcStatus;
}

export class IngestClient {
  private readonly client: Client;

  constructor(address: string) {
    this.client = new Client(address, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_send_message_length': -1,
    });
  }

  /** The answer; rejects with the call's error. A request given as bytes is sent as it is. */
  call(method: string, request: object | Buffer, metadata: Readonly<Record<string, string>> = {}): Promise<Message> {
    const headers = new Metadata();
    for (const [name, value] of Object.entries(metadata)) headers.set(name, value);
    return new Promise((resolve, reject) => {
      this.client.makeUnaryRequest(
        `${SERVICE}/${method}`,
        (message: object | Buffer) => (Buffer.isBuffer(message) ? message : encodeIngest(`${method}Request`, message)),
        (bytes) => decodeIngest(`${method}Response`, bytes),
        request,
        headers,
        { deadline: Date.now() + 20_000 },
        (error: ServiceError | null, answer?: Message) => (error === null ? resolve(answer ?? {}) : reject(error)),
      );
    });
  }

  /** How the call fails; throws when it does not. */
  async failure(method: string, request: object | Buffer): Promise<Failure> {
    try {
      await this.call(method, request);
    } catch (error) {
      const { code, details, metadata } = error as ServiceError;
      const [bytes] = metadata.get('grpc-status-details-bin');
      if (bytes === undefined) throw error;
      return { code, message: details, status: decodeRpcStatus(bytes as Buffer) };
    }
    throw new Error(`${method} did not fail`);
  }

  stream(): ClientDuplexStream<object, Message> {
    return this.client.makeBidiStreamRequest(
      `${SERVICE}/WriteStream`,
      (message: object) => (Buffer.isBuffer(message) ? message : encodeIngest('WriteStreamRequest', message)),
      (bytes) => decodeIngest('WriteStreamResponse', bytes),
    );
  }

  close(): void {
    this.client.close();
  }
}
