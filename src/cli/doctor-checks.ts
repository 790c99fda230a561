/** What doctor looks at: this machine, its folders and ports, and by `doctor-database.ts` Postgres. */
import { access, constants, mkdir, readdir, stat, statfs, unlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { systems } from '../../pipelines/index.ts'
import type { Config } from '../config.ts'
import { spoolFolder } from '../engine/duckdb.ts'
import { planOf } from '../engine/system-run.ts'
import { messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { claimsIn, countWaiting, filesSources, leftAloneInWords } from '../sources/files/waiting.ts'
import { database, embeddedPrograms } from './doctor-database.ts'
import { type Finding, fault, ok, warning } from './finding.ts'
import { askServer, findServer, isAlive } from './server-file.ts'
import { bytes, counted, printable } from './text.ts'

export async function* findings(config: Config, log: Log): AsyncGenerator<Finding> {
  yield node()
  yield* settings(config)
  yield* dataDirectory(config)
  yield* port(config)
  if (config.database === undefined) yield* embeddedPrograms(config)
  yield* database(config, log)
  for (const system of systems) yield* files(planOf(system, config).name, config, system)
  yield* leftovers(config)
}

// ---- this machine --------------------------------------------------------------------------------------------------

function node(): Finding {
  const major = Number(process.versions.node.split('.')[0])
  return major >= 24
    ? ok('node', `version ${process.versions.node}`)
    : fault(
        'node',
        `version ${process.versions.node}; Millrace needs 24 or later`,
        'use the one that npm installs here: npm run -s millrace -- <verb>',
      )
}

function* settings(config: Config): Generator<Finding> {
  const problems = [...config.warnings]
  const memory = totalmem()
  if (config.memoryLimitMb * 1e6 > memory / 2) {
    problems.push(`MEMORY_LIMIT is ${config.memoryLimitMb} MB, more than half of this machine's ${bytes(memory)}`)
  }
  for (const problem of problems)
    yield warning('settings', problem, '`millrace config` shows every value and where it came from')
  if (problems.length === 0) yield ok('settings', 'they can be read, and fit together')
}

const littleSpace = { fault: 100e6, warning: 2e9 }

async function* dataDirectory({ dataDirectory: folder }: Config): AsyncGenerator<Finding> {
  const probe = join(folder, `.doctor-${process.pid}`)
  try {
    await mkdir(folder, { recursive: true })
    await writeFile(probe, '')
    await unlink(probe)
  } catch (error) {
    yield fault(
      'data directory',
      `${folder} cannot be written to: ${messageOf(error)}`,
      'let this user write there, or name another folder with MILLRACE_DATA',
    )
    return
  }
  const { bavail, bsize } = await statfs(folder)
  const free = bavail * bsize
  const says = `${folder} is writable, ${bytes(free)} free`
  const mend = 'make room: batches pass through this disk, and the embedded Postgres lives on it'
  if (free < littleSpace.fault) yield fault('data directory', says, mend)
  else if (free < littleSpace.warning) yield warning('data directory', says, mend)
  else yield ok('data directory', says)
}

async function* port({ host, port: wanted, dataDirectory: folder }: Config): AsyncGenerator<Finding> {
  const server = findServer(folder)
  const answers = server !== undefined && (await askServer(server)) !== undefined
  if (server !== undefined && answers) {
    yield ok('server', `runs on port ${server.port} (pid ${server.pid})`)
    return
  }
  if (server !== undefined) {
    yield warning(
      'server',
      `pid ${server.pid} should answer on port ${server.port}, and does not within 2 s`,
      `look at its log; if that process is not Millrace, remove ${join(folder, 'server.json')}`,
    )
  }
  const taken = wanted === 0 ? undefined : await whyNoListening(host, wanted)
  if (taken === undefined)
    yield ok('port', wanted === 0 ? 'any free one will be taken' : `${wanted} on ${host} is free`)
  else
    yield fault(
      'port',
      `${wanted} on ${host}: ${taken}`,
      `stop what holds it (ss -ltnp 'sport = :${wanted}' names it), or choose another with PORT`,
    )
}

function whyNoListening(host: string, wanted: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error) =>
      resolve('code' in error && error.code === 'EADDRINUSE' ? 'another program listens there' : error.message),
    )
    server.listen(wanted, host, () => server.close(() => resolve(undefined)))
  })
}

// ---- files ---------------------------------------------------------------------------------------------------------

const oldClaimMs = 3_600_000

async function* files(name: string, config: Config, system: (typeof systems)[number]): AsyncGenerator<Finding> {
  const plan = planOf(system, config)
  for (const { folder } of filesSources(plan)) {
    const problem = await whyNoFolder(folder)
    if (problem !== undefined) {
      yield fault(
        'source folder',
        `${name} cannot use ${folder}: ${problem}`,
        'let this user read and write there: files are taken by renaming them',
      )
      continue
    }
    const there = await stat(folder).catch(() => undefined)
    const { waiting, leftAlone } = await countWaiting(plan)
    yield ok(
      'source folder',
      there === undefined ? `${folder} is made by the first start` : `${folder}, ${counted(waiting, 'file')} waiting`,
    )
    if (leftAlone.length > 0) {
      yield warning(
        'left alone',
        printable(`${folder} holds ${leftAloneInWords(leftAlone)}`),
        'move them elsewhere; in place of a link or a folder, move the files themselves in',
      )
    }
    const old = (await claimsIn(folder)).filter(({ claimedAt }) => Date.now() - claimedAt.getTime() > oldClaimMs)
    if (old.length > 0) {
      const verb = old.length === 1 ? 'was' : 'were'
      yield warning(
        'claimed files',
        `${counted(old.length, 'file')} ${verb} taken over an hour ago and not finished, such as ${old[0]?.path}`,
        `start a worker, which reads on where it stopped; if one runs, its log says why it does not`,
      )
    }
  }
}

async function whyNoFolder(folder: string): Promise<string | undefined> {
  try {
    const stats = await stat(folder)
    if (!stats.isDirectory()) return 'it is not a folder'
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK)
    return undefined
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) return messageOf(error)
    // it will be made, if the nearest folder above it that is there lets us
    return dirname(folder) === folder ? messageOf(error) : await whyNoFolder(dirname(folder))
  }
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
    yield warning(
      'spool',
      `${counted(left.length, 'folder')} of processes that ended, such as ${left[0]}`,
      `the next worker clears its own; the others can go: rm -r ${left.slice(0, 3).join(' ')}${left.length > 3 ? ' ...' : ''}`,
    )
  }
}
