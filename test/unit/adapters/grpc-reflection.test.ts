/** What strict clients ask of file descriptors (descriptor.proto); grpcurl 1.9 was tried by hand with the same result. */
import { join } from 'node:path';
import { FileDescriptorProto, type IDescriptorProto, type IFileDescriptorProto } from 'protobufjs/ext/descriptor';
import { reflectionDefinitions } from '../../../src/adapters/grpc-reflection';

const PROTO = join(__dirname, '..', '..', '..', 'proto');
const FILES = [
  'thermocline/ingest/v1/ingest.proto',
  'opentelemetry/proto/collector/trace/v1/trace_service.proto',
  'opentelemetry/proto/collector/metrics/v1/metrics_service.proto',
  'arrow/flight/protocol/Flight.proto',
];

const files = (): IFileDescriptorProto[] => {
  const [definition] = Object.values(reflectionDefinitions(FILES, [PROTO])) as unknown as { fileDescriptorProtos: Buffer[] }[];
  return definition.fileDescriptorProtos.map(
    (bytes) => FileDescriptorProto.toObject(FileDescriptorProto.decode(bytes)) as IFileDescriptorProto,
  );
};
const ofPackage = (name: string): IFileDescriptorProto | undefined => files().find((file) => file.package === name);
const allMessages = (messages: readonly IDescriptorProto[] = []): IDescriptorProto[] =>
  messages.flatMap((message) => [message, ...allMessages(message.nestedType)]);

test('a file imports the files of every package that it refers to, each once, and they are there', () => {
  const byPackage = new Map(files().map((file) => [file.package, file]));
  const imports = (name: string): string[] => {
    const names = new Set(byPackage.get(name)?.dependency);
    return [...byPackage].filter(([, file]) => names.has(file.name ?? '')).map(([imported]) => String(imported));
  };
  expect(imports('thermocline.ingest.v1')).toEqual(['google.protobuf']);
  expect(imports('opentelemetry.proto.collector.trace.v1')).toEqual(['opentelemetry.proto.trace.v1']);
  expect(imports('opentelemetry.proto.trace.v1').sort()).toEqual([
    'opentelemetry.proto.common.v1',
    'opentelemetry.proto.resource.v1',
  ]);
  expect(imports('arrow.flight.protocol')).toEqual(['google.protobuf']);
  expect(imports('opentelemetry.proto.common.v1')).toEqual([]);
  const names = new Set(files().map(({ name }) => name));
  for (const { dependency = [] } of files()) for (const name of dependency) expect(names).toContain(name);
});

test('entries of maps have the name that follows from their field, and fields the names of the interface file', () => {
  const messages = allMessages(ofPackage('thermocline.ingest.v1')?.messageType);
  const row = messages.find(({ name }) => name === 'Row');
  expect(row?.nestedType?.map(({ name }) => name)).toEqual(['FieldsEntry']);
  expect(row?.field?.find(({ name }) => name === 'fields')?.typeName).toMatch(/(^|\.)FieldsEntry$/);
  const request = messages.find(({ name }) => name === 'WriteRequest');
  expect(request?.field?.map(({ name }) => name)).toContain('idempotency_key');
});

test('no message has reserved ranges, which the loader gets wrong', () => {
  for (const file of files()) {
    for (const { reservedRange = [] } of allMessages(file.messageType)) expect(reservedRange).toEqual([]);
  }
});
