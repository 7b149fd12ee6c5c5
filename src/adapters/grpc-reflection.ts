/**
 * What the reflection service tells of the interface files. The loader makes one file descriptor of each package, which strict
 * clients (grpcurl, everything on Go) refuse: it lacks its imports, its reserved ranges end one too early, and the messages of map
 * entries have names of their own. That is put right here.
 */
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';
import {
  FileDescriptorProto,
  type IDescriptorProto,
  type IEnumDescriptorProto,
  type IFileDescriptorProto,
} from 'protobufjs/ext/descriptor';

/** Definitions for `ReflectionService`: all files, with field names as they are written and with their imports. */
export function reflectionDefinitions(protoFiles: readonly string[], includeDirs: string[]): PackageDefinition {
  const files = readFiles(loadSync([...protoFiles], { includeDirs, keepCase: true }));
  const owners = new Map<string, IFileDescriptorProto>();
  for (const file of files) {
    for (const name of typeNames(file.package ?? '', file.messageType ?? [], file.enumType ?? [])) owners.set(name, file);
  }
  const encoded = files.map((file) => {
    const imports = new Set<string>();
    for (const { scope, name } of referencesOf(file)) {
      const owner = ownerOf(owners, scope, name);
      if (owner?.name !== undefined && owner !== file) imports.add(owner.name);
    }
    const complete = FileDescriptorProto.fromObject({
      ...file,
      messageType: file.messageType?.map(corrected),
      dependency: [...imports],
    });
    return Buffer.from(FileDescriptorProto.encode(complete).finish());
  });
  // The service reads nothing of a definition but its files.
  return {
    all: { format: 'Protocol Buffer 3 DescriptorProto', type: {}, fileDescriptorProtos: encoded },
  } as unknown as PackageDefinition;
}

function readFiles(definitions: PackageDefinition): IFileDescriptorProto[] {
  const files = new Map<string, IFileDescriptorProto>();
  for (const definition of Object.values(definitions)) {
    const { fileDescriptorProtos } = definition as { fileDescriptorProtos?: unknown };
    for (const bytes of Array.isArray(fileDescriptorProtos) ? (fileDescriptorProtos as Buffer[]) : []) {
      const file = FileDescriptorProto.toObject(FileDescriptorProto.decode(bytes)) as IFileDescriptorProto;
      if (file.name !== undefined && !files.has(file.name)) files.set(file.name, file);
    }
  }
  return [...files.values()];
}

/** Reserved ranges say nothing to a client. An entry of the map `some_field` is called SomeFieldEntry (descriptor.proto, map_entry). */
function corrected({ reservedRange: _ranges, reservedName: _names, ...message }: IDescriptorProto): IDescriptorProto {
  const renamed = new Map<string, string>();
  const entries = new Set(message.nestedType?.filter(({ options }) => options?.mapEntry === true).map(({ name = '' }) => name));
  const field = message.field?.map((given) => {
    const entry = given.typeName?.split('.').at(-1) ?? '';
    if (!entries.has(entry)) return given;
    const name = `${given.name ?? ''}Entry`.replace(/(?:^|_)(.)/g, (_, letter: string) => letter.toUpperCase());
    renamed.set(entry, name);
    return { ...given, typeName: `${given.typeName?.slice(0, -entry.length) ?? ''}${name}` };
  });
  const nestedType = message.nestedType?.map((nested) => {
    const { name = '' } = nested;
    return corrected({ ...nested, name: renamed.get(name) ?? name });
  });
  return { ...message, ...(field === undefined ? {} : { field }), ...(nestedType === undefined ? {} : { nestedType }) };
}

function* typeNames(
  scope: string,
  messages: readonly IDescriptorProto[],
  enums: readonly IEnumDescriptorProto[],
): Generator<string> {
  for (const { name = '' } of enums) yield `${scope}.${name}`;
  for (const { name = '', nestedType = [], enumType = [] } of messages) {
    yield `${scope}.${name}`;
    yield* typeNames(`${scope}.${name}`, nestedType, enumType);
  }
}

interface Reference {
  /** Full name of what refers. */
  readonly scope: string;
  readonly name: string;
}

function* referencesOf(file: IFileDescriptorProto): Generator<Reference> {
  const scope = file.package ?? '';
  yield* fieldTypes(scope, file.messageType ?? []);
  for (const { method = [] } of file.service ?? []) {
    for (const { inputType = '', outputType = '' } of method) {
      yield { scope, name: inputType };
      yield { scope, name: outputType };
    }
  }
}

function* fieldTypes(outer: string, messages: readonly IDescriptorProto[]): Generator<Reference> {
  for (const { name = '', field = [], nestedType = [] } of messages) {
    const scope = `${outer}.${name}`;
    for (const { typeName = '' } of field) if (typeName !== '') yield { scope, name: typeName };
    yield* fieldTypes(scope, nestedType);
  }
}

/** Names are looked up from the innermost scope outwards, as in an interface file; with a point in front they are full names. */
function ownerOf(
  owners: ReadonlyMap<string, IFileDescriptorProto>,
  scope: string,
  name: string,
): IFileDescriptorProto | undefined {
  if (name.startsWith('.')) return owners.get(name.slice(1));
  for (let outer = scope; outer !== ''; outer = outer.slice(0, Math.max(0, outer.lastIndexOf('.')))) {
    const owner = owners.get(`${outer}.${name}`);
    if (owner !== undefined) return owner;
  }
  return owners.get(name);
}
