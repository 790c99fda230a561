/** A Postgres that belongs to one test alone, whose processes may be killed and stopped without hurting another. */
import { mkdir, realpath } from 'node:fs/promises'
import { embeddedFolder } from '../../src/store/embedded/folder.ts'
import { type EmbeddedPostgres, findEmbedded, openEmbedded } from '../../src/store/embedded/open.ts'
import { serverProcesses, signal, stopServer } from '../../src/store/embedded/postmaster.ts'
import { eventually, lastWishes } from './process.ts'

/** The processes of the embedded Postgres of a data directory; disposing lets them go on and waits for their end. */
export interface Cluster extends AsyncDisposable {
  /** Where it is, once it runs. */
  url(): Promise<string>
  /** kill -9 for the postmaster and all its children. */
  kill(): Promise<void>
  /** SIGSTOP for all of them, until `goOn`. */
  freeze(): Promise<void>
  goOn(): Promise<void>
  /** Stops it as an administrator would; its clients are cut off. */
  shutDown(): Promise<void>
}

export async function clusterIn(data: string): Promise<Cluster> {
  await mkdir(data, { recursive: true })
  const { name } = embeddedFolder(await realpath(data))
  let thaw: (() => void) | undefined
  const tell = async (what: NodeJS.Signals): Promise<void> => {
    const { postmaster, backends } = await serverProcesses(name)
    // the postmaster first: it would start others in the place of its children
    for (const pid of [postmaster, ...backends]) if (pid !== undefined) signal(pid, what)
  }
  const goOn = async (): Promise<void> => {
    if (thaw) lastWishes.delete(thaw)
    await tell('SIGCONT')
  }
  return {
    async url() {
      const found = await findEmbedded(data)
      if (found === undefined) throw new Error('the embedded Postgres does not run')
      return found.url
    },
    async kill() {
      await tell('SIGKILL')
    },
    async freeze() {
      const { postmaster, backends } = await serverProcesses(name)
      // its supervisor cannot end what is stopped
      thaw = () => {
        for (const pid of [postmaster, ...backends]) if (pid !== undefined) signal(pid, 'SIGCONT')
      }
      lastWishes.add(thaw)
      // a backend that was being started is seen the second time
      await tell('SIGSTOP')
      await tell('SIGSTOP')
    },
    goOn,
    async shutDown() {
      await stopServer(name)
    },
    async [Symbol.asyncDispose]() {
      await goOn()
      await eventually(
        async () => {
          const { postmaster, backends } = await serverProcesses(name)
          return postmaster === undefined && backends.length === 0
        },
        { what: () => `the Postgres in ${data} ends with its owners` },
      )
    },
  }
}

/** A server that the test owns, as an operator would own one, and that comes back only when the test says so. */
export async function ownServer(
  data: string,
): Promise<{ cluster: Cluster; postgres: EmbeddedPostgres } & AsyncDisposable> {
  const cluster = await clusterIn(data)
  const postgres = await openEmbedded({ dataDirectory: data, log: () => {} })
  return {
    cluster,
    postgres,
    async [Symbol.asyncDispose]() {
      await postgres[Symbol.asyncDispose]()
      await cluster[Symbol.asyncDispose]()
    },
  }
}
