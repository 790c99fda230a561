/**
 * The bytes of a file, plain: one packed with gzip or zstd is unpacked into the spool first, whole, so that a file that
 * was cut short is known before its first row is taken.
 */
import { createWriteStream } from 'node:fs'
import { type FileHandle, rm } from 'node:fs/promises'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { asDiskFull, messageOf } from '../../errors.ts'
import type { Claim } from './claims.ts'
import type { FileReason } from './reasons.ts'

export interface Content {
  path: string
  size: number
  /** A file of the spool, to be removed when it is done with. */
  unpacked: boolean
}

export type Opened = { is: 'content'; content: Content } | { is: 'bad'; code: UnpackProblem; message: string }

export type UnpackProblem = Extract<FileReason, 'CUT_SHORT' | 'NOT_PACKED_RIGHT' | 'UNPACKS_TOO_LARGE' | 'NOT_TEXT'>

/** A file may unpack to 256 MiB, or to 200 times its size where that is more, and to 64 GiB at most. */
export function mostUnpacked(size: number): number {
  return Math.min(64 * 2 ** 30, Math.max(256 * 2 ** 20, 200 * size))
}

/** A header is not longer. */
const beginBytes = 1024 * 1024

export type Packing = 'gzip' | 'zstd'

/** Looks at the first bytes, not at the name. `into` is where an unpacked file would go. */
export async function openContent(
  claim: Claim,
  handle: FileHandle,
  begin: Buffer,
  into: string,
  signal?: AbortSignal,
): Promise<Opened> {
  const first = Buffer.alloc(16)
  begin.copy(first)
  const packing = packingOf(first)
  if (packing === undefined) {
    const hex = first.toString('hex')
    const [, what] = foreign.find(([mark]) => hex.startsWith(mark)) ?? []
    if (what !== undefined) return { is: 'bad', code: 'NOT_TEXT', message: `the file is ${what}, and no text` }
    return { is: 'content', content: { path: claim.at, size: claim.size, unpacked: false } }
  }
  return await unpack(claim, handle, packing, into, signal)
}

// What people send in place of text, by its first bytes; none of them can begin a text that is meant.
const foreign: [mark: string, what: string][] = [
  ['504b0304', 'a ZIP archive or a workbook'],
  ['d0cf11e0a1b11ae1', 'an old workbook'],
  // BZh, a digit, and the digits of pi
  ...Array.from({ length: 9 }, (_, i): [string, string] => [`425a683${i + 1}314159265359`, 'packed with bzip2']),
  ['fd377a585a00', 'packed with xz'],
  ['04224d18', 'packed with lz4'],
  ['377abcaf271c', 'a 7z archive'],
  ['5041523115', 'Parquet'],
  ['4f626a01', 'Avro'],
  ['4152524f57310000', 'Arrow'],
  ['255044462d', 'a PDF document'],
  ['89504e470d0a1a0a', 'a picture'],
]

/** How a file is packed, by its first four bytes or more. */
export function packingOf(first: Buffer): Packing | undefined {
  if (first[0] === 0x1f && first[1] === 0x8b) return 'gzip'
  // a zstd frame, or a frame to be skipped before it
  const magic = first.readUInt32LE(0)
  return magic === 0xfd2fb528 || (magic & 0xfffffff0) >>> 0 === 0x184d2a50 ? 'zstd' : undefined
}

async function unpack(
  claim: Claim,
  handle: FileHandle,
  packing: Packing,
  into: string,
  signal: AbortSignal | undefined,
): Promise<Opened> {
  const most = mostUnpacked(claim.size)
  let size = 0
  let tooLarge = false
  const count = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length
      tooLarge = size > most
      done(tooLarge ? new Error('too large') : null, chunk)
    },
  })
  // gzip may have several members, and refuses anything else after one; zstd must be asked to
  const unpacker = packing === 'gzip' ? createGunzip() : createZstdDecompress({ rejectGarbageAfterEnd: true })
  try {
    // by the handle: another file may lie under the name by now
    await pipeline(chunksOf(handle, 0), unpacker, count, createWriteStream(into), signal ? { signal } : {})
    // gunzip ends without a word where a zero follows, as padding does
    if (await isPadding(handle, unpacker.bytesWritten)) {
      return { is: 'content', content: { path: into, size, unpacked: true } }
    }
    await rm(into, { force: true })
    return { is: 'bad', code: 'NOT_PACKED_RIGHT', message: `something follows the end of the ${packing} data` }
  } catch (error) {
    await rm(into, { force: true })
    if (tooLarge) {
      const message = `it unpacks to more than ${Math.floor(most / 2 ** 20)} MiB from ${claim.size} bytes`
      return { is: 'bad', code: 'UNPACKS_TOO_LARGE', message }
    }
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    // a full disk, or a file that cannot be read, is not the packing's fault
    if (!/^(Z_|ZSTD_|ERR_TRAILING_JUNK)/.test(code)) throw asDiskFull(error, into)
    return code === 'Z_BUF_ERROR'
      ? { is: 'bad', code: 'CUT_SHORT', message: `the ${packing} data ends before its end` }
      : { is: 'bad', code: 'NOT_PACKED_RIGHT', message: `the ${packing} data is broken: ${messageOf(error)}` }
  }
}

/** The first bytes of a file, of a small one all. */
export async function readBegin(handle: FileHandle, size: number): Promise<Buffer> {
  const begin = Buffer.allocUnsafe(Math.min(size, beginBytes))
  const { bytesRead } = await handle.read(begin, 0, begin.length, 0)
  return begin.subarray(0, bytesRead)
}

/** The bytes of an open file, from a place on. */
export async function* chunksOf(handle: FileHandle, from: number): AsyncGenerator<Buffer> {
  for (let at = from; ; ) {
    const chunk = Buffer.allocUnsafe(64 * 1024)
    const { bytesRead } = await handle.read(chunk, 0, chunk.length, at)
    if (bytesRead === 0) return
    yield chunk.subarray(0, bytesRead)
    at += bytesRead
  }
}

async function isPadding(handle: FileHandle, from: number): Promise<boolean> {
  for await (const chunk of chunksOf(handle, from)) if (chunk.some((byte) => byte !== 0)) return false
  return true
}

/** Forgets a file's content, and removes what was unpacked of it. */
export async function dropContent(claim: Claim): Promise<void> {
  if (claim.content?.unpacked) await rm(claim.content.path, { force: true })
  delete claim.content
}
