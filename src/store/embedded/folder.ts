import { createHash } from 'node:crypto'
import { readFile, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** Where the parts of an embedded Postgres lie, and the name its processes carry in the process table. */
export interface EmbeddedFolder {
  /** Only `node:sqlite` may open it: closing it by other means would free the lock. */
  readonly lock: string
  readonly root: string
  readonly cluster: string
  /** Clusters in the making begin with this path; what a killed `initdb` left begins with it too. */
  readonly clusterInTheMaking: string
  readonly password: string
  readonly port: string
  readonly owners: string
  readonly pidNamespace: string
  readonly serverLog: string
  readonly supervisorLog: string
  readonly name: string
}

/** The embedded Postgres of a data directory, which is given as its real and absolute path. */
export function embeddedFolder(dataDirectory: string): EmbeddedFolder {
  const root = join(dataDirectory, 'postgres')
  return {
    lock: join(dataDirectory, 'postgres.lock'),
    root,
    cluster: join(root, 'cluster'),
    clusterInTheMaking: join(root, 'cluster.new-'),
    password: join(root, 'password'),
    port: join(root, 'port'),
    owners: join(root, 'postgres.owners'),
    pidNamespace: join(root, 'pid-namespace'),
    serverLog: join(root, 'server.log'),
    supervisorLog: join(root, 'supervisor.log'),
    name: `millrace-${createHash('sha256').update(root).digest('hex').slice(0, 16)}`,
  }
}

/** A small file's text without the line end, or undefined when there is no such file. */
export async function readLine(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined
    throw error
  }
}

const logBytes = 10 * 1024 * 1024

/** Puts a log aside once it has grown large; the one before it is dropped. */
export async function turnLog(path: string): Promise<void> {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  )
  if (size > logBytes) await rename(path, `${path}.1`)
}

/** The end of a log from a given byte on, as it is shown in an error. */
export async function endOfLog(path: string, from = 0): Promise<string> {
  const bytes = await readFile(path).catch(() => Buffer.alloc(0))
  return bytes.subarray(from).toString('utf8').trim().split('\n').slice(-8).join('\n')
}

/** Whether an error of the operating system has one of these codes. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code))
}
