/** What doctor asks the machine it runs on. */
import { type Stats, watch } from 'node:fs'
import { stat, statfs } from 'node:fs/promises'
import { totalmem } from 'node:os'
import { sparkFacts } from './spark-facts.ts'

export interface Machine {
  nodeVersion: string
  /** Of the machine, or what its container may have of it. */
  memoryBytes: number
  now(): number
  space(folder: string): Promise<{ bytes: number; files: number | undefined }>
  /** The kind of network disk a folder lies on, if it does. */
  networkDisk(folder: string): Promise<string | undefined>
  /** The disk of a path, following links. */
  disk(path: string): Promise<Stats['dev'] | undefined>
  /** Why the kernel sends no notices of a folder, as an error code. */
  whyNoNotices(folder: string): string | undefined
  /** What a Spark server says of itself; fails when it does not answer. */
  spark(remote: string, databaseUrl: string | undefined): Promise<SparkFacts>
}

export interface SparkFacts {
  version: string
  /** Why it cannot be used, if it cannot. */
  unfit: unknown
  timeZone: string
  /** Why it does not reach the database, if it does not. */
  noDatabase: unknown
  hasKafka: boolean
}

export const thisMachine: Machine = {
  nodeVersion: process.versions.node,
  memoryBytes: Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY),
  now: () => Date.now(),
  async space(folder) {
    const { bavail, bsize, files, ffree } = await statfs(folder)
    // a file system that counts no files has room for any number
    return { bytes: bavail * bsize, files: files > 0 ? ffree : undefined }
  },
  async networkDisk(folder) {
    if (process.platform !== 'linux') return undefined
    return networkDisks[(await statfs(folder)).type]
  },
  async disk(path) {
    return (await stat(path).catch(() => undefined))?.dev
  },
  spark: sparkFacts,
  whyNoNotices(folder) {
    try {
      watch(folder).close()
      return undefined
    } catch (error) {
      return error instanceof Error && 'code' in error ? String(error.code) : String(error)
    }
  },
}

// as `man 2 statfs` numbers them
const networkDisks: Record<number, string> = {
  26985: 'NFS',
  20859: 'SMB',
  4283649346: 'SMB',
  4266872130: 'SMB',
  12805120: 'Ceph',
  16914839: '9p',
  1397113167: 'AFS',
}
