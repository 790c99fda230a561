/** The bytes of a file of a log, unpacked as they are read, from a place on. */
import { createReadStream } from 'node:fs'
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

/** Gives what can be unpacked, and then says how the file ends. */
export async function* unpacked({ path, codec, bytes, from }: Stretch): AsyncGenerator<Buffer, FileEnd> {
  const skipsInFile = codec === 'plain'
  const start = skipsInFile ? from : 0
  if (start >= bytes) return 'whole'
  const file = createReadStream(path, { start, end: bytes - 1, highWaterMark: chunkBytes })
  let toSkip = skipsInFile ? 0 : from
  const decoder = decoderOf(codec)
  try {
    for await (const chunk of decoder === undefined ? plainOrLz4(file, codec) : piped(file, decoder)) {
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

function decoderOf(codec: Codec): Decoder | undefined {
  switch (codec) {
    case 'zstd':
      return createZstdDecompress({ chunkSize: chunkBytes })
    case 'gzip':
      return createGunzip({ chunkSize: chunkBytes })
    case 'plain':
    case 'lz4':
      return undefined
  }
}

function plainOrLz4(file: Readable, codec: Codec): AsyncIterable<Buffer> {
  return codec === 'lz4' ? unpackLz4(file) : file
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
