/** Stands between the driver and a broker, and knows enough of the protocol to lose or damage a request or a reply. */
import { createServer, connect as dial, type Socket } from 'node:net'

export type Harm = 'lose the request' | 'lose the reply' | 'cut the reply' | 'damage the reply'

/** The numbers of requests. */
export const requests = { produce: 0, fetch: 1 } as const

export interface KafkaProxy extends AsyncDisposable {
  readonly port: number
  /** Where the broker listens. */
  target: number
  /** What was done so far. */
  readonly harmed: readonly Harm[]
  /** Does this to the next requests of a kind, one each; a reply is harmed when it is longer than so many bytes. */
  harm(request: number, harms: Harm[], longerThan?: number): void
  /** Ends all connections of now. */
  hangUp(): void
}

export async function openKafkaProxy(): Promise<KafkaProxy> {
  const sockets = new Set<Socket>()
  const harmed: Harm[] = []
  let planned: { request: number; harms: Harm[]; longerThan: number } | undefined

  const server = createServer((client) => {
    const broker = dial(proxy.target, '127.0.0.1')
    const hangUp = (): void => {
      for (const socket of [client, broker]) socket.destroy()
    }
    for (const socket of [client, broker]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('error', hangUp)
      socket.on('close', () => {
        sockets.delete(socket)
        hangUp()
      })
    }
    /** By the number that a request and its reply have in common. */
    const asked = new Map<number, number>()
    client.on(
      'data',
      frames((frame) => {
        const request = frame.readInt16BE(4)
        asked.set(frame.readInt32BE(8), request)
        if (planned?.request === request && planned.harms[0] === 'lose the request') {
          harmed.push('lose the request')
          planned.harms.shift()
          hangUp()
        } else broker.write(frame)
      }),
    )
    broker.on(
      'data',
      frames((frame) => {
        const request = asked.get(frame.readInt32BE(4))
        const harm =
          planned?.request === request && frame.length > (planned?.longerThan ?? 0) ? planned?.harms[0] : undefined
        if (harm === undefined || harm === 'lose the request') {
          client.write(frame)
          return
        }
        harmed.push(harm)
        planned?.harms.shift()
        if (harm === 'lose the reply') hangUp()
        if (harm === 'cut the reply') client.write(frame.subarray(0, frame.length >> 1), hangUp)
        if (harm === 'damage the reply') {
          const middle = frame.length >> 1
          frame.writeUInt8(frame.readUInt8(middle) ^ 0x40, middle)
          client.write(frame)
        }
      }),
    )
  })
  server.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const address = server.address()
  const proxy: KafkaProxy = {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    target: 0,
    harmed,
    harm(request, harms, longerThan = 0) {
      planned = { request, harms, longerThan }
    },
    hangUp() {
      for (const socket of sockets) socket.destroy()
    },
    async [Symbol.asyncDispose]() {
      proxy.hangUp()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return proxy
}

/** Requests and replies: their length, in four bytes, and so many bytes. */
function frames(take: (frame: Buffer) => void): (bytes: Buffer) => void {
  let pending = Buffer.alloc(0)
  return (bytes) => {
    pending = Buffer.concat([pending, bytes])
    while (pending.length >= 4 && pending.length >= 4 + pending.readInt32BE(0)) {
      const end = 4 + pending.readInt32BE(0)
      const frame = Buffer.from(pending.subarray(0, end))
      pending = pending.subarray(end)
      take(frame)
    }
  }
}
