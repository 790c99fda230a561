/** Stands before Postgres and makes it look like an older one: the number of its version is another on the way to the client. */
import { createServer, connect as dial, type Socket } from 'node:net'

export interface OlderServer extends AsyncDisposable {
  readonly url: string
}

/** The server of a URL, saying that it is of this version, given as `server_version_num` has it: `140019`. */
export async function olderServer(url: string, version: string): Promise<OlderServer> {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const postgres = dial(Number(target.port), target.hostname)
    for (const [socket, other] of [
      [client, postgres],
      [postgres, client],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => other.destroy())
      socket.on('close', () => other.destroy())
    }
    client.pipe(postgres)
    postgres.on('data', (bytes: Buffer) => client.write(rewritten(bytes, version)))
  })
  server.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const address = server.address()
  const through = new URL(url)
  through.hostname = '127.0.0.1'
  through.port = String(typeof address === 'object' ? address?.port : '')
  return {
    url: through.href,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

// A value of a row: its length, then its text. The number has six digits in every version that is claimed.
const versionValue = new RegExp(`(${String.fromCharCode(0, 0, 0, 6)})1[5-9]0\\d{3}`, 'g')

function rewritten(bytes: Buffer, version: string): Buffer {
  return Buffer.from(bytes.toString('latin1').replace(versionValue, `$1${version}`), 'latin1')
}
