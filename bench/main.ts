/** `npm run bench -- files | latency | read | big | many-files | log | ingest | consume | publish | windows | flyers | process | spark-logs | spark-logs-ingest | spark-shuffle | spark-overhead | spark-curve`: speed and memory beside others, with ratios. */
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { benchArchive } from './archive.ts'
import { benchBig } from './big.ts'
import { benchConsume } from './consume.ts'
import { benchFiles } from './files.ts'
import { benchFlyers } from './flyers.ts'
import { flyerFormats } from './flyers-data.ts'
import { flyerPeers } from './flyers-peers.ts'
import { benchIngest, ingestPeers } from './ingest.ts'
import { benchLatency, latencySystems } from './latency.ts'
import { benchTelemetraLatency } from './latency-telemetra.ts'
import { benchLog } from './log.ts'
import { benchManyFiles } from './many-files.ts'
import { benchOpenPage } from './open-page.ts'
import { peerNames } from './peers.ts'
import { benchProcess } from './process.ts'
import { benchPublish } from './publish.ts'
import { benchRead } from './read.ts'
import { benchSparkCurve, curveEngines } from './spark-curve.ts'
import { benchSparkLogs } from './spark-logs.ts'
import { benchSparkLogsIngest } from './spark-logs-ingest.ts'
import { benchSparkOverhead } from './spark-overhead.ts'
import { benchSparkShuffle } from './spark-shuffle.ts'
import { benchWindows, windowPeers } from './windows.ts'

const usage = `npm run bench -- files [--rows N] [--rounds N] [--peers ${peerNames.join(',')}]
npm run bench -- latency [--system ${latencySystems.join('|')}|telemetra] [--rate N] [--seconds N]
npm run bench -- read [--rows N] [--rounds N]
npm run bench -- big [--gigabytes N]
npm run bench -- many-files [--files N] [--seconds N]
npm run bench -- archive [--files N] [--rounds N]
npm run bench -- open-page [--rows N] [--rounds N]
npm run bench -- log [--rows N] [--rounds N]
npm run bench -- ingest [--seconds N] [--rounds N] [--peers ${ingestPeers.join(',')}]
npm run bench -- process [--users N] [--rate N] [--seconds N]
npm run bench -- consume [--rows N] [--rounds N]
npm run bench -- publish [--rows N] [--rounds N]
npm run bench -- windows [--rows N] [--rounds N] [--peers ${windowPeers.join(',')}]
npm run bench -- flyers [--rows N[,N...]] [--rounds N] [--format ${flyerFormats.join('|')}] [--peers ${flyerPeers.join(',')}]
npm run bench -- spark-logs [--megabytes N] [--rounds N]
npm run bench -- spark-logs-ingest [--seconds N] [--rounds N] [--peers ${ingestPeers.join(',')}]
npm run bench -- spark-shuffle [--rows N] [--format ${flyerFormats.join('|')}]
npm run bench -- spark-overhead [--rows N] [--rounds N]
npm run bench -- spark-curve [--rows N[,N...]] [--peers ${curveEngines.join(',')}]

bench/README.md says what is compared and how to read it.
`

async function main(): Promise<number> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      rows: { type: 'string', default: '1000000' },
      rounds: { type: 'string', default: '3' },
      peers: { type: 'string' },
      system: { type: 'string', default: 'shop-events' },
      rate: { type: 'string', default: '1000' },
      seconds: { type: 'string', default: '30' },
      gigabytes: { type: 'string', default: '10' },
      files: { type: 'string' },
      users: { type: 'string', default: '1000' },
      format: { type: 'string', default: 'csv' },
      megabytes: { type: 'string', default: '431' },
      help: { type: 'boolean', default: false },
    },
  })
  const root = dirname(import.meta.dirname)
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => stop.abort(new Error(`stopped by ${signal}`)))
  }
  switch (positionals[0]) {
    case 'files': {
      const asked: readonly string[] = values.peers?.split(',') ?? peerNames
      const peers = peerNames.filter((peer) => asked.includes(peer))
      if (peers.length !== asked.length) break
      const [rows, rounds] = [count(values.rows), count(values.rounds)]
      await benchFiles({ root, rows, rounds, peers, signal: stop.signal })
      return 0
    }
    case 'big':
      await benchBig({ root, gigabytes: count(values.gigabytes), signal: stop.signal })
      return 0
    case 'read':
      await benchRead({ root, rows: count(values.rows), rounds: count(values.rounds) })
      return 0
    case 'latency':
      if (values.system === 'telemetra') {
        const [rate, seconds] = [count(values.rate), count(values.seconds)]
        await benchTelemetraLatency({ root, rate, seconds, signal: stop.signal })
        return 0
      }
      if (!latencySystems.includes(values.system)) break
      await benchLatency({
        root,
        system: values.system,
        rate: count(values.rate),
        seconds: count(values.seconds),
        signal: stop.signal,
      })
      return 0
    case 'process':
      await benchProcess({
        root,
        rate: count(values.rate),
        seconds: count(values.seconds),
        users: count(values.users),
        signal: stop.signal,
      })
      return 0
    case 'log':
      await benchLog({ root, rows: count(values.rows), rounds: count(values.rounds) })
      return 0
    case 'ingest':
    case 'spark-logs-ingest': {
      const asked: readonly string[] = values.peers?.split(',') ?? ingestPeers
      const peers = ingestPeers.filter((peer) => asked.includes(peer))
      if (peers.length !== asked.length) break
      const [rounds, seconds] = [count(values.rounds), count(values.seconds)]
      const bench = positionals[0] === 'ingest' ? benchIngest : benchSparkLogsIngest
      await bench({ root, rounds, seconds, peers, signal: stop.signal })
      return 0
    }
    case 'consume':
      await benchConsume({ root, rows: count(values.rows), rounds: count(values.rounds) })
      return 0
    case 'windows': {
      const asked: readonly string[] = values.peers?.split(',') ?? windowPeers
      const peers = windowPeers.filter((peer) => asked.includes(peer))
      if (peers.length !== asked.length) break
      await benchWindows({ root, rows: count(values.rows), rounds: count(values.rounds), peers, signal: stop.signal })
      return 0
    }
    case 'spark-shuffle': {
      const format = flyerFormats.find((each) => each === values.format)
      if (format === undefined) break
      await benchSparkShuffle({ root, rows: count(values.rows), format, signal: stop.signal })
      return 0
    }
    case 'spark-overhead': {
      const [rows, rounds] = [count(values.rows), count(values.rounds)]
      await benchSparkOverhead({ root, rows, rounds, signal: stop.signal })
      return 0
    }
    case 'spark-curve': {
      const asked: readonly string[] = values.peers?.split(',') ?? curveEngines
      const engines = curveEngines.filter((engine) => asked.includes(engine))
      if (engines.length !== asked.length) break
      await benchSparkCurve({ root, rows: values.rows.split(',').map(count), engines, signal: stop.signal })
      return 0
    }
    case 'flyers': {
      const asked: readonly string[] = values.peers?.split(',') ?? flyerPeers
      const peers = flyerPeers.filter((peer) => asked.includes(peer))
      const format = flyerFormats.find((each) => each === values.format)
      if (peers.length !== asked.length || format === undefined) break
      const [rows, rounds] = [values.rows.split(',').map(count), count(values.rounds)]
      await benchFlyers({ root, rows, rounds, format, peers, signal: stop.signal })
      return 0
    }
    case 'publish':
      await benchPublish({ root, rows: count(values.rows), rounds: count(values.rounds), signal: stop.signal })
      return 0
    case 'open-page':
      await benchOpenPage({ root, rows: count(values.rows), rounds: count(values.rounds), signal: stop.signal })
      return 0
    case 'archive': {
      const [files, rounds] = [count(values.files ?? '10000'), count(values.rounds)]
      await benchArchive({ root, files, rounds, signal: stop.signal })
      return 0
    }
    case 'spark-logs':
      await benchSparkLogs({ root, megabytes: count(values.megabytes), rounds: count(values.rounds) })
      return 0
    case 'many-files': {
      const [files, seconds] = [count(values.files ?? '100000'), count(values.seconds)]
      await benchManyFiles({ root, files, seconds, signal: stop.signal })
      return 0
    }
  }
  process.stderr.write(usage)
  return values.help ? 0 : 2
}

function count(text: string): number {
  const number = Number(text)
  if (!Number.isInteger(number) || number <= 0) throw new Error(`"${text}" is not a whole number above 0`)
  return number
}

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
