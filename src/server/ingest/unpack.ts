/** Unpacks a body as its content-encoding says, and no further than is allowed. */
import { promisify } from 'node:util'
import { constants, gunzip, zstdDecompress } from 'node:zlib'
import { messageOf } from '../../errors.ts'
import { ProblemError } from '../problem.ts'

/** A zstd frame asks for as much memory as it looks back; more than 16 MB only archives do. */
const zstdLooksBack = 24

const unpackers = {
  gzip: promisify(gunzip),
  zstd: (bytes: Buffer, { maxOutputLength }: { maxOutputLength: number }) =>
    promisify(zstdDecompress)(bytes, {
      maxOutputLength,
      rejectGarbageAfterEnd: true,
      params: { [constants.ZSTD_d_windowLogMax]: zstdLooksBack },
    }),
} as const

/** For Accept-Encoding, as RFC 9110 has it in an answer. */
export const encodings = Object.keys(unpackers).join(', ')

export async function unpack(bytes: Buffer, encoding: string | undefined, atMost: number): Promise<Buffer> {
  const name = encoding?.trim().toLowerCase() ?? 'identity'
  if (name === 'identity' || name === '') return bytes
  if (name !== 'gzip' && name !== 'zstd') {
    const detail = `the body is encoded as "${encoding}"`
    throw new ProblemError(415, 'WRONG_TYPE_OF_BODY', detail, `it can be ${encodings}, or as it is`)
  }
  try {
    return await unpackers[name](bytes, { maxOutputLength: atMost })
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    if (code === 'ERR_BUFFER_TOO_LARGE') {
      const detail = `the body unpacks to more than ${atMost} bytes`
      throw new ProblemError(413, 'TOO_LARGE', detail, 'post the events in parts; INGEST_MAX_UNPACKED is the limit')
    }
    // anything else is not the body's fault
    if (!/^(Z_|ZSTD_|ERR_TRAILING_JUNK)/.test(code)) throw error
    throw new ProblemError(400, 'NOT_PACKED_RIGHT', `the ${name} data is broken: ${messageOf(error)}`)
  }
}
