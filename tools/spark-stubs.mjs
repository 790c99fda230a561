/**
 * Makes `src/spark/generated/`: what Spark Connect says and is asked, from the descriptors inside the pyspark that
 * MILLRACE_SPARK_PYTHON has. Run it after a change of that version.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  AnySchema,
  CodeGeneratorRequestSchema,
  CodeGeneratorResponseSchema,
  FileDescriptorProtoSchema,
  file_google_protobuf_any,
} from '@bufbuild/protobuf/wkt'

const python = process.env['MILLRACE_SPARK_PYTHON']
if (python === undefined) throw new Error('MILLRACE_SPARK_PYTHON names no Python with pyspark: .ci/setup brings one')
const into = 'src/spark/generated'

// The modules hold their descriptor as bytes; they are read and not run, for running asks for a package of its own.
const reads = `
import ast, base64, glob, json, os, importlib.util
folder = os.path.join(os.path.dirname(importlib.util.find_spec("pyspark").origin), "sql/connect/proto")
found = []
for path in sorted(glob.glob(folder + "/*_pb2.py")):
    if "example_plugins" in path:
        continue
    for node in ast.walk(ast.parse(open(path).read())):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "AddSerializedFile":
            found.append(base64.b64encode(ast.literal_eval(node.args[0])).decode())
print(json.dumps(found))
`
const files = JSON.parse(execFileSync(python, ['-c', reads], { maxBuffer: 64_000_000 }).toString()).map((bytes) =>
  fromBinary(FileDescriptorProtoSchema, Buffer.from(bytes, 'base64')),
)
if (AnySchema.file !== file_google_protobuf_any) throw new Error('another package answers for google.protobuf')

// Files come after those they stand on.
const known = new Map([file_google_protobuf_any.proto, ...files].map((file) => [file.name, file]))
const inOrder = new Map()
const place = (file) => {
  for (const name of file.dependency) place(known.get(name))
  inOrder.set(file.name, file)
}
for (const file of files) place(file)

const request = create(CodeGeneratorRequestSchema, {
  fileToGenerate: files.map(({ name }) => name),
  parameter: 'target=js+dts,import_extension=js',
  protoFile: [...inOrder.values()],
})
const made = spawnSync(process.execPath, ['node_modules/@bufbuild/protoc-gen-es/bin/protoc-gen-es'], {
  input: toBinary(CodeGeneratorRequestSchema, request),
  maxBuffer: 64_000_000,
})
if (made.status !== 0) throw new Error(made.stderr.toString())
const { file, error } = fromBinary(CodeGeneratorResponseSchema, made.stdout)
if (error) throw new Error(error)
rmSync(into, { recursive: true, force: true })
for (const { name, content } of file) {
  const path = join(into, name.replace('spark/connect/', ''))
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, content)
}
console.log(`${into}: ${file.length} files`)
