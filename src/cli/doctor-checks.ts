/** What doctor looks at, in its order; this machine here, files and Postgres in the files beside this one. */
import { mkdir, readdir, unlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { systems } from '../../pipelines/index.ts'
import type { Config } from '../config.ts'
import { spoolFolder } from '../engine/duckdb.ts'
import { planOf } from '../engine/system-run.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { tlsDisagreements } from '../store/tls.ts'
import { database, embeddedPrograms } from './doctor-database.ts'
import { sourceFolders } from './doctor-files.ts'
import { sparkServer } from './doctor-spark.ts'
import { type Finding, found, ok } from './finding.ts'
import { type Machine, thisMachine } from './machine.ts'
import { askServer, findServer, isAlive } from './server-file.ts'
import { bytes, counted } from './text.ts'

export async function* findings(config: Config, log: Log, machine: Machine = thisMachine): AsyncGenerator<Finding> {
  yield node(machine)
  yield* settings(config, machine)
  yield* dataDirectory(config, machine)
  yield* port(config)
  const plans = systems.map((system) => planOf(system, config))
  if (config.database === undefined) yield* embeddedPrograms(config)
  const own = yield* database(config, plans, log, machine)
  for (const plan of [...plans, ...own]) yield* sourceFolders(plan, machine)
  yield* leftovers(config)
  yield* sparkServer(config, machine)
}

function node({ nodeVersion }: Machine): Finding {
  const says = `version ${nodeVersion}`
  return Number(nodeVersion.split('.')[0]) >= 24
    ? ok('node', says)
    : found('NODE_TOO_OLD', `${says}; Millrace needs 24 or later`)
}

function* settings({ warnings, database: address, memoryLimitMb }: Config, machine: Machine): Generator<Finding> {
  const aboutTls = address === undefined ? [] : tlsDisagreements(address.url)
  const problems = [
    ...warnings.filter((warning) => !aboutTls.includes(warning)).map((warning) => found('SETTINGS_DISAGREE', warning)),
    ...aboutTls.map((warning) => found('TLS_DISAGREES', warning)),
  ]
  const limit = memoryLimitMb * 1e6
  const { memoryBytes } = machine
  if (limit > memoryBytes) {
    problems.push(
      found('MEMORY_LIMIT_TOO_LARGE', `MEMORY_LIMIT is ${bytes(limit)}, and there are ${bytes(memoryBytes)} in all`),
    )
  } else if (limit > memoryBytes / 2) {
    problems.push(
      found('MEMORY_LIMIT_HIGH', `MEMORY_LIMIT is ${bytes(limit)}, more than half of the ${bytes(memoryBytes)} here`),
    )
  }
  if (problems.length > 0) yield* problems
  else yield ok('settings', 'they can be read, and fit together')
}

const littleSpace = { fault: 100e6, warning: 2e9, files: 1000 }

async function* dataDirectory({ dataDirectory: folder }: Config, machine: Machine): AsyncGenerator<Finding> {
  const probe = join(folder, `.doctor-${process.pid}`)
  try {
    await mkdir(folder, { recursive: true })
    await writeFile(probe, '')
    await unlink(probe)
  } catch (error) {
    // a disk without a byte or a file left is one of the faults below
    if (!isFull(error)) {
      yield found('DATA_NOT_WRITABLE', `${folder} cannot be written to: ${messageOf(error)}`)
      return
    }
  }
  const { bytes: free, files } = await machine.space(folder)
  const room = files === undefined || files >= littleSpace.files ? '' : ` for ${counted(files, 'file')}`
  const says = `${folder} has ${bytes(free)} free${room}`
  if (free < littleSpace.fault || room !== '') yield found('DISK_NEARLY_FULL', says)
  else if (free < littleSpace.warning) yield found('DISK_FILLING', says)
  else yield ok('data directory', `${folder} is writable, ${bytes(free)} free`)
  const network = await machine.networkDisk(folder)
  if (network !== undefined) yield found('DATA_ON_NETWORK_DISK', `${folder} is on ${network}`)
}

function isFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')
}

async function* port({ host, port: wanted, dataDirectory: folder }: Config): AsyncGenerator<Finding> {
  const server = findServer(folder)
  const answers = server !== undefined && (await askServer(server)) !== undefined
  if (server !== undefined && answers) {
    yield ok('server', `runs on port ${server.port} (pid ${server.pid})`)
    return
  }
  if (server !== undefined) {
    yield found(
      'SERVER_SILENT',
      `pid ${server.pid} should answer on port ${server.port}, and does not within 2 s`,
      `look at its log; if that process is not Millrace, remove ${join(folder, 'server.json')}`,
    )
  }
  const why = wanted === 0 ? undefined : await whyNoListening(host, wanted)
  if (why === undefined) yield ok('port', wanted === 0 ? 'any free one will be taken' : `${wanted} on ${host} is free`)
  else if (why !== 'EADDRINUSE') yield found('PORT_UNUSABLE', `${wanted} on ${host} cannot be listened on: ${why}`)
  else {
    yield found(
      'PORT_TAKEN',
      `another program listens on ${wanted} on ${host}`,
      `stop what holds it (ss -ltnp 'sport = :${wanted}' names it), or choose another with PORT`,
    )
  }
}

function whyNoListening(host: string, wanted: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error) => resolve('code' in error ? String(error.code) : error.message))
    server.listen(wanted, host, () => server.close(() => resolve(undefined)))
  })
}

// What passes through the disk is named after its process.
async function* leftovers({ dataDirectory: folder }: Config): AsyncGenerator<Finding> {
  const left: string[] = []
  const look = async (parent: string): Promise<void> => {
    for (const name of await readdir(parent).catch(() => [])) {
      const pid = Number(/^(?:dry-run-)?(\d+)(?:-|$)/.exec(name)?.[1])
      const path = join(parent, name)
      // an empty one takes no room
      if (pid > 0 && !isAlive(pid) && (await readdir(path).catch(() => [])).length > 0) left.push(path)
    }
  }
  const spool = spoolFolder(folder)
  for (const parent of [join(folder, 'duckdb'), spool]) await look(parent)
  for (const system of systems) await look(join(spool, system.name))
  if (left.length === 0) yield ok('spool', 'nothing is left of processes that ended')
  else {
    yield found(
      'LEFTOVERS',
      `${counted(left.length, 'folder')} of processes that ended, such as ${left[0]}`,
      `the next worker clears its own; the others can go: rm -r ${left.slice(0, 3).join(' ')}${left.length > 3 ? ' ...' : ''}`,
    )
  }
}
