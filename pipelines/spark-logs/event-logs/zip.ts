/** Files as one zip, as they are: what is packed already is not packed again. */
import { createReadStream } from 'node:fs'
import { crc32 } from 'node:zlib'

export interface Zipped {
  name: string
  path: string
  /** So many are taken, whatever is appended meanwhile. */
  bytes: number
}

/** A zip has no room for more without an extension that not every client knows. */
export const mostZipBytes = 0xffffffff

export async function* zipOf(files: readonly Zipped[]): AsyncGenerator<Buffer> {
  const entries: Buffer[] = []
  let at = 0
  for (const { name, path, bytes } of files) {
    const named = Buffer.from(name, 'utf8')
    // who unpacks it must know the sum before the bytes
    let sum = 0
    for await (const chunk of part(path, bytes)) sum = crc32(chunk, sum)
    const head = Buffer.alloc(26)
    head.writeUInt16LE(10, 0)
    head.writeUInt16LE(0x0800, 2)
    head.writeUInt16LE(0x21, 8)
    head.writeUInt32LE(sum, 10)
    head.writeUInt32LE(bytes, 14)
    head.writeUInt32LE(bytes, 18)
    head.writeUInt16LE(named.length, 22)
    yield Buffer.concat([Buffer.from('PK\x03\x04'), head, named])
    for await (const chunk of part(path, bytes)) yield chunk
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE(at, 10)
    entries.push(Buffer.concat([Buffer.from('PK\x01\x02\x0a\x00'), head, tail, named]))
    at += 30 + named.length + bytes
  }
  const directory = Buffer.concat(entries)
  const end = Buffer.alloc(18)
  end.writeUInt16LE(entries.length, 4)
  end.writeUInt16LE(entries.length, 6)
  end.writeUInt32LE(directory.length, 8)
  end.writeUInt32LE(at, 12)
  yield Buffer.concat([directory, Buffer.from('PK\x05\x06'), end])
}

function part(path: string, bytes: number): AsyncIterable<Buffer> {
  return bytes === 0 ? createReadStream(path, { end: 0, start: 1 }) : createReadStream(path, { end: bytes - 1 })
}
