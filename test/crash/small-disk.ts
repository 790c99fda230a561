/** A disk that is small enough to be filled: memory, mounted over a folder. Only root may mount one. */
import { execFile, execFileSync } from 'node:child_process'
import { mkdir, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { lastWishes } from './process.ts'

const run = promisify(execFile)

export interface SmallDisk extends AsyncDisposable {
  /** Leaves not a byte, and no room for another file. */
  fill(): Promise<void>
  /** Removes what filled it. */
  free(): Promise<void>
}

/** Mounts a disk of so many megabytes, and of so many files, over a folder. */
export async function smallDisk(path: string, { megabytes = 16, files = 2000 } = {}): Promise<SmallDisk> {
  await mkdir(path, { recursive: true })
  await run('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,nr_inodes=${files},mode=0777`, 'tmpfs', path])
  // lazily: whatever is still open goes with its process
  const unmount = (): void => void execFileSync('umount', ['-l', path])
  lastWishes.add(unmount)
  const filler = join(path, '.filler')
  return {
    async fill() {
      await mkdir(filler, { recursive: true })
      await fillBytes(join(filler, 'bytes'))
      await fillFiles(filler)
    },
    async free() {
      await rm(filler, { recursive: true, force: true })
    },
    async [Symbol.asyncDispose]() {
      lastWishes.delete(unmount)
      unmount()
    },
  }
}

async function fillBytes(path: string): Promise<void> {
  await using handle = await open(path, 'a')
  for (let size = 1024 * 1024; size >= 1; ) {
    const { bytesWritten } = await handle.write(Buffer.alloc(size)).catch(onFull)
    if (bytesWritten < size) size = Math.floor(size / 2)
  }
}

async function fillFiles(folder: string): Promise<void> {
  for (let n = 0; ; n++) {
    const made = await writeFile(join(folder, String(n)), '').then(() => true, onFull)
    if (made !== true) return
  }
}

function onFull(error: NodeJS.ErrnoException): { bytesWritten: number } {
  if (error.code !== 'ENOSPC') throw error
  return { bytesWritten: 0 }
}

/** Why no disk can be mounted here, if none can. */
export function noDisks(): string | false {
  const path = join(tmpdir(), `millrace-mount-${process.pid}`)
  try {
    execFileSync(
      'sh',
      ['-c', 'mkdir "$0" && mount -t tmpfs tmpfs "$0" && umount "$0"; code=$?; rmdir "$0"; exit $code', path],
      {
        stdio: 'pipe',
      },
    )
    return false
  } catch (error) {
    // as: what execFileSync throws has what the command said
    const { stderr } = error as { stderr?: Buffer }
    return `a full disk needs one to be mounted, which only root may do: ${String(stderr ?? error).trim()}`
  }
}
