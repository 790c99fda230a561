/** Names of files, whatever their bytes are: as text that people can read and a disk can hold. */
import { textOf } from './read-spool.ts'

/** The most bytes of a name. */
const mostBytes = 255

/** A name as it came from the disk; `bytes` only where it is no UTF-8. */
export function nameOf(bytes: Buffer): { name: string; bytes?: Buffer } {
  const { text, hex } = textOf(bytes)
  return hex === '' ? { name: text } : { name: text, bytes }
}

/** The name, cut in its middle where it is too long to have `more` bytes added. */
export function fittingName(name: string, more = 0): string {
  const room = mostBytes - more
  if (Buffer.byteLength(name) <= room) return name
  const characters = [...name]
  // the end says what kind of file it is
  const end = characters.splice(-20).join('')
  while (Buffer.byteLength(`${characters.join('')}~${end}`) > room) characters.pop()
  return `${characters.join('')}~${end}`
}
