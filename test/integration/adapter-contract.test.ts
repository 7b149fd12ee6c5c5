/** The contract suite of test/contract/adapter.ts, run by every adapter behind its real listener. */
import { registerAdapterContractTests } from '../contract/adapter';
import { otlpGrpc, otlpHttpJson, otlpHttpProtobuf, restJson } from '../support/adapter-subjects';
import { ingestService } from '../support/ingest-service-subject';

registerAdapterContractTests('OTLP/HTTP with JSON', otlpHttpJson);
registerAdapterContractTests('OTLP/HTTP with protobuf', otlpHttpProtobuf);
registerAdapterContractTests('OTLP/gRPC', otlpGrpc);
registerAdapterContractTests('REST with JSON', restJson);
registerAdapterContractTests('IngestService', ingestService);
