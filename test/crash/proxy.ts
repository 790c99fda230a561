/**
 * Stands between a worker and Postgres and knows enough of the protocol to see the COMMIT of a batch: then it may cut the
 * connection before the server hears of it, or after the server has done it and before the worker hears of that.
 */
import { createServer, connect as dial, type Socket } from 'node:net'

export type Cut = 'the request' | 'the reply'

export interface Proxy extends AsyncDisposable {
  /** The database's URL by way of here. */
  readonly url: string
  /** Commits of batches seen so far, and what was cut. */
  readonly commits: number
  readonly cuts: readonly Cut[]
}

/** Asked for each COMMIT of a batch, the first being 1: what shall be cut, if anything. */
export type Plan = (commit: number) => Cut | undefined

export async function openProxy(url: string, plan: Plan): Promise<Proxy> {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  const cuts: Cut[] = []
  let commits = 0

  const server = createServer((worker) => {
    const postgres = dial(Number(target.port), target.hostname)
    const both = [worker, postgres]
    const hangUp = (): void => {
      for (const socket of both) socket.destroy()
    }
    let startup = true
    let isWork = false
    let cutReply = false
    let pending = Buffer.alloc(0)
    for (const socket of both) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', hangUp)
      socket.on('close', () => {
        sockets.delete(socket)
        hangUp()
      })
    }
    worker.on('data', (bytes: Buffer) => {
      pending = Buffer.concat([pending, bytes])
      for (;;) {
        // the first message has no type before its length
        const from = startup ? 0 : 1
        if (pending.length < from + 4) return
        const end = from + pending.readInt32BE(from)
        if (pending.length < end) return
        const message = pending.subarray(0, end)
        pending = pending.subarray(end)
        if (startup) {
          startup = false
          // the session of a pipeline's batches is named after the pipeline
          isWork = message.includes('application_name\0millrace shop-events\0')
        } else if (isWork && isCommit(message)) {
          const cut = plan(++commits)
          if (cut !== undefined) cuts.push(cut)
          if (cut === 'the request') return hangUp()
          cutReply = cut === 'the reply'
        }
        postgres.write(message)
      }
    })
    postgres.on('data', (bytes: Buffer) => {
      // CommandComplete: it is done, and nobody will know
      if (cutReply && bytes.includes('COMMIT\0')) return hangUp()
      worker.write(bytes)
    })
  })
  server.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const address = server.address()
  const through = new URL(url)
  through.hostname = '127.0.0.1'
  through.port = String(typeof address === 'object' ? address?.port : '')
  return {
    url: through.href,
    get commits() {
      return commits
    },
    cuts,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function isCommit(message: Buffer): boolean {
  return (
    message[0] === 'Q'.charCodeAt(0) &&
    message
      .toString('latin1', 5, message.length - 1)
      .trim()
      .toLowerCase() === 'commit'
  )
}
