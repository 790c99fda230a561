/** The bytes of a file of a log, unpacked as they are read, from a place on. */
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { Lz4Cut, Lz4Damaged, unpackLz4 } from './lz4.ts'

export type Codec = 'plain' | 'zstd' | 'gzip' | 'lz4'

/** How a file ends: a cut one has lost what came after, and says nothing of what it was. */
export type FileEnd = 'whole' | 'cut' | 'damaged'

export interface Stretch {
  path: string
  codec: Codec
  /** Bytes of the file as it lies there: what is appended meanwhile is read another time. */
  bytes: number
  /** Unpacked bytes that were read before. */
  from: number
}

const chunkBytes = 1024 * 1024
/** Fewer bytes are no head of a frame that could be judged. */
const frameHeadBytes = 18

/** Gives what can be unpacked, each chunk until the next is asked for, and then says how the file ends. */
export async function* unpacked({ path, codec, bytes, from }: Stretch): AsyncGenerator<Buffer, FileEnd> {
  if (codec === 'plain') return yield* plain(path, from, bytes)
  if (bytes === 0) return 'whole'
  const file = createReadStream(path, { end: bytes - 1, highWaterMark: chunkBytes })
  let toSkip = from
  const decoder = decoderOf(codec)
  try {
    for await (const chunk of decoder === undefined ? unpackLz4(file) : piped(file, decoder)) {
      if (toSkip >= chunk.length) toSkip -= chunk.length
      else {
        yield toSkip === 0 ? chunk : chunk.subarray(toSkip)
        toSkip = 0
      }
    }
    // where a frame should begin and does not, Node ends without a word
    const left = decoder === undefined ? 0 : bytes - decoder.bytesWritten
    if (left === 0) return 'whole'
    return left < frameHeadBytes ? 'cut' : 'damaged'
  } catch (error) {
    const end = endOf(error)
    if (end === undefined) throw error
    return end
  } finally {
    file.destroy()
  }
}

type Decoder = ReturnType<typeof createGunzip> | ReturnType<typeof createZstdDecompress>

function decoderOf(codec: Exclude<Codec, 'plain'>): Decoder | undefined {
  switch (codec) {
    case 'zstd':
      return createZstdDecompress({ chunkSize: chunkBytes })
    case 'gzip':
      return createGunzip({ chunkSize: chunkBytes })
    case 'lz4':
      return undefined
  }
}

// Into the same memory again and again: a new megabyte for each would keep the collector busy.
async function* plain(path: string, from: number, bytes: number): AsyncGenerator<Buffer, FileEnd> {
  if (from >= bytes) return 'whole'
  await using file = await open(path)
  const chunk = Buffer.allocUnsafeSlow(Math.min(chunkBytes, bytes - from))
  for (let at = from; at < bytes; ) {
    const { bytesRead } = await file.read(chunk, 0, Math.min(chunk.length, bytes - at), at)
    // it has become shorter since it was looked at
    if (bytesRead === 0) break
    at += bytesRead
    yield chunk.subarray(0, bytesRead)
  }
  return 'whole'
}

function piped(file: Readable, decoder: Decoder): AsyncIterable<Buffer> {
  file.on('error', (error) => decoder.destroy(error))
  return file.pipe(decoder)
}

// Undefined: the file could not be read, which is no property of its bytes.
function endOf(error: unknown): FileEnd | undefined {
  if (!(error instanceof Error)) return undefined
  if (error instanceof Lz4Cut) return 'cut'
  if (error instanceof Lz4Damaged) return 'damaged'
  const code = 'code' in error ? String(error.code) : ''
  if (code === 'Z_BUF_ERROR') return 'cut'
  return /^(Z_|ZSTD_)/.test(code) ? 'damaged' : undefined
}
