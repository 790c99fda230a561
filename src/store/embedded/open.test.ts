import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Client } from 'pg'
import { freePort } from '../../../test/free-port.ts'
import { MillraceError } from '../../errors.ts'
import { type EmbeddedFolder, embeddedFolder } from './folder.ts'
import { findEmbedded, openEmbedded } from './open.ts'
import { serverProcesses } from './postmaster.ts'

const log = () => {}
const isRoot = process.getuid?.() === 0

describe('the embedded Postgres', { concurrency: 2, skip: process.platform === 'win32' }, () => {
  test('a fresh folder gets a durable server with byte order and UTC, open to this user alone', async () => {
    await using data = await temporary()
    await using postgres = await openEmbedded({ dataDirectory: data.path, log })
    assert.equal(postgres.started, true)
    const [row] = await query(
      postgres.url,
      `select current_database() as database, current_setting('timezone') as zone, upper('straße Ärger') as upper,
              (select string_agg(t, '' order by t) from unnest(array['b', 'ä', 'B', 'a', '_']) as t) as sorted,
              current_setting('fsync') || current_setting('synchronous_commit') as durable,
              current_setting('listen_addresses') || current_setting('unix_socket_directories') as listens,
              current_setting('server_encoding') as encoding`,
    )
    assert.deepEqual(row, {
      database: 'millrace',
      zone: 'UTC',
      upper: 'STRAßE ÄRGER',
      sorted: 'B_abä',
      durable: 'onon',
      listens: '127.0.0.1',
      encoding: 'UTF8',
    })
    assert.equal((await stat(data.folder.root)).mode & 0o777, 0o700)
    assert.equal((await stat(data.folder.password)).mode & 0o777, 0o600)
    await assert.rejects(
      query(postgres.url.replace(/:[^:@]+@/, ':wrong@'), 'select 1'),
      /password authentication failed/,
    )
  })

  test('it runs in a folder whose path is very long and has spaces', async () => {
    await using data = await temporary(`with spaces ${'and a long name '.repeat(8)}/${'deeper '.repeat(15)}`)
    assert.ok(data.path.length > 240)
    await using postgres = await openEmbedded({ dataDirectory: data.path, log })
    assert.deepEqual(await query(postgres.url, 'select 1 as one'), [{ one: 1 }])
  })

  test('another process joins; the server outlives the killed group of its starter, and stops with the last owner', async () => {
    await using data = await temporary()
    await using starter = await owner(data.path)
    await using joiner = await owner(data.path)
    assert.equal(starter.started, true)
    assert.equal(joiner.started, false)
    assert.equal(joiner.url, starter.url)
    await using client = await connected(joiner.url)
    const session = await client.query('select pg_backend_pid() as pid')
    await starter.killGroup()
    assert.deepEqual((await client.query('select pg_backend_pid() as pid')).rows, session.rows)
    await client.end()
    await joiner.killGroup()
    await data.stopped()
  })

  test('a killed server comes back with its data, even when one of its backends is too busy to notice', async () => {
    await using data = await temporary()
    await using postgres = await openEmbedded({ dataDirectory: data.path, log })
    await query(postgres.url, 'create table kept as select 42 as answer')
    await using client = await connected(postgres.url)
    const busy = client.query('select count(*) from generate_series(1, 1e12::bigint) as n where n < 0').catch(() => {})
    await until(
      async () =>
        (await query(postgres.url, `select from pg_stat_activity where query like '%1e12%' and state = 'active'`))
          .length > 1,
    )
    await kill((await serverProcesses(data.folder.name)).postmaster)
    const { port } = postgres
    await Promise.all([postgres.ensureUp(), postgres.ensureUp()])
    assert.deepEqual(await query(postgres.url, 'select answer from kept'), [{ answer: 42 }])
    assert.equal(postgres.port, port)
    await busy
  })

  test('after the supervisor was killed, a new one comes with the next owner and counts the old ones too', async () => {
    await using data = await temporary()
    await using old = await openEmbedded({ dataDirectory: data.path, log })
    await kill(...(await data.supervisors()))
    await using joiner = await owner(data.path)
    await joiner.leave()
    assert.deepEqual(await query(old.url, 'select 1 as one'), [{ one: 1 }])
    await kill(...(await data.supervisors()))
    await old.ensureUp()
    assert.equal((await data.supervisors()).length, 1)
    await old[Symbol.asyncDispose]()
    await data.stopped()
  })

  test('of two processes that begin at the same moment one makes the cluster and both are served', async () => {
    await using data = await temporary()
    const both = await Promise.all([owner(data.path), owner(data.path)])
    await using _one = both[0]
    await using _other = both[1]
    assert.deepEqual(both.map((each) => each.started).sort(), [false, true])
    for (const { url } of both) assert.deepEqual(await query(url, 'select 1 as one'), [{ one: 1 }])
    const made = (await readFile(data.folder.serverLog, 'utf8')).match(/^Success\. /gm)
    assert.equal(made?.length, 1)
  })

  test('what a process left that was killed while it made the cluster is taken away', async () => {
    await using data = await temporary()
    const killed = spawnOwner(data.path)
    await until(async () => (await unfinished(data.folder)).length > 0)
    await kill(killed.pid)
    await using postgres = await openEmbedded({ dataDirectory: data.path, log })
    assert.deepEqual(await query(postgres.url, 'select 1 as one'), [{ one: 1 }])
    await postgres[Symbol.asyncDispose]()
    await data.stopped()
    mkdirSync(`${data.folder.clusterInTheMaking}1-1/base`, { recursive: true })
    await using _again = await openEmbedded({ dataDirectory: data.path, log })
    assert.deepEqual(await unfinished(data.folder), [])
  })

  test('data and port stay the same over a restart, and only a running server is found', async () => {
    await using data = await temporary()
    assert.equal(await findEmbedded(join(data.path, 'nowhere')), undefined)
    assert.equal(await findEmbedded(data.path), undefined)
    const first = await openEmbedded({ dataDirectory: data.path, log })
    const { url, port } = first
    assert.deepEqual(await findEmbedded(data.path), { url, port })
    await query(url, 'create table kept as select 42 as answer')
    await first[Symbol.asyncDispose]()
    await data.stopped()
    assert.equal(await findEmbedded(data.path), undefined)
    await using second = await openEmbedded({ dataDirectory: data.path, log })
    assert.deepEqual([second.started, second.url], [true, url])
    assert.deepEqual(await query(second.url, 'select answer from kept'), [{ answer: 42 }])
  })

  test('a kept port that another program has taken is named, and another one can be given', async () => {
    await using data = await temporary()
    const first = await openEmbedded({ dataDirectory: data.path, log })
    const { port } = first
    await first[Symbol.asyncDispose]()
    await data.stopped()
    await using stranger = createServer((socket) => socket.resume().end('220 this is not Postgres\n')).listen(
      port,
      '127.0.0.1',
    )
    await once(stranger, 'listening')
    await assert.rejects(openEmbedded({ dataDirectory: data.path, log }), (error) => {
      assert.ok(error instanceof MillraceError)
      assert.equal(error.code, 'EMBEDDED_POSTGRES')
      assert.match(error.message, new RegExp(String(port)))
      assert.match(String(error.hint), /POSTGRES_PORT/)
      return true
    })
    await using second = await openEmbedded({ dataDirectory: data.path, port: await freePort(), log })
    assert.deepEqual(await query(second.url, 'select 1 as one'), [{ one: 1 }])
    assert.deepEqual(await findEmbedded(data.path), { url: second.url, port: second.port })
  })

  test('two owners in one process each keep the server', async () => {
    await using data = await temporary()
    const [one, other] = await Promise.all([
      openEmbedded({ dataDirectory: data.path, log }),
      openEmbedded({ dataDirectory: `${data.path}/.`, log }),
    ])
    assert.deepEqual([one.started, other.started].sort(), [false, true])
    await one[Symbol.asyncDispose]()
    await using client = await connected(other.url)
    assert.deepEqual((await client.query('select 1 as one')).rows, [{ one: 1 }])
    await client.end()
    await other[Symbol.asyncDispose]()
    await data.stopped()
    await assert.rejects(other.ensureUp(), /has been closed/)
  })

  test('whoever opens it while it stops gets a server that stays, at whatever moment', async () => {
    await using data = await temporary()
    let starts = 0
    for (let round = 0; round < 15; round++) {
      await using postgres = await openEmbedded({ dataDirectory: data.path, log })
      if (postgres.started) starts++
      await using client = await connected(postgres.url)
      // A server that somebody was about to stop would end the session in this time.
      await client.query('select pg_sleep(0.08)')
      await client.end()
      await postgres[Symbol.asyncDispose]()
      // Not waiting for anything: the moments spread over the whole stop, which takes some 60 ms.
      await pause(round * 6)
    }
    assert.ok(starts > 0)
  })

  test('a server of another container is neither joined nor started a second time', async () => {
    await using data = await temporary()
    await using postgres = await openEmbedded({ dataDirectory: data.path, log })
    const here = await readFile(data.folder.pidNamespace, 'utf8')
    writeFileSync(data.folder.pidNamespace, 'pid:[1]')
    await assert.rejects(openEmbedded({ dataDirectory: data.path, log }), /runs in another container/)
    await writeFile(data.folder.pidNamespace, here)
    assert.deepEqual(await query(postgres.url, 'select 1 as one'), [{ one: 1 }])
  })

  test('where root may not make a user namespace, the server runs as nobody', {
    skip: !isRoot || process.platform !== 'linux',
  }, async () => {
    await using data = await temporary()
    await using programs = await temporary()
    for (const { path } of [data, programs]) await chmod(path, 0o755)
    for (const program of ['mkfifo', 'chown', 'test']) {
      const { stdout } = await promisify(execFile)('which', [program])
      symlinkSync(stdout.trim(), join(programs.path, program))
    }
    await using running = await owner(data.path, { PATH: programs.path })
    assert.deepEqual(await query(running.url, 'select 1 as one'), [{ one: 1 }])
    const { postmaster } = await serverProcesses(data.folder.name)
    assert.equal((await stat(`/proc/${postmaster}`)).uid, 65_534)
    await running.leave()
    await data.stopped()
    // Root with a user namespace finds the folder of another user later: it goes on as that user.
    await using postgres = await openEmbedded({ dataDirectory: data.path, log })
    assert.deepEqual(await query(postgres.url, 'select 1 as one'), [{ one: 1 }])
  })
})

interface Temporary extends AsyncDisposable {
  readonly path: string
  readonly folder: EmbeddedFolder
  supervisors(): Promise<number[]>
  /** Waits until neither server nor supervisor runs. */
  stopped(): Promise<void>
}

async function temporary(below = ''): Promise<Temporary> {
  const root = await mkdtemp(join(tmpdir(), 'millrace-embedded-'))
  const path = join(root, below)
  const folder = embeddedFolder(path)
  async function supervisors(): Promise<number[]> {
    const { stdout } = await promisify(execFile)('ps', ['-axww', '-o', 'pid=,command='])
    const lines = stdout.split('\n').filter((line) => line.includes('embedded/supervisor') && line.endsWith(` ${path}`))
    return lines.map((line) => Number.parseInt(line, 10))
  }
  async function stopped(): Promise<void> {
    await until(async () => {
      const { postmaster, backends } = await serverProcesses(folder.name)
      return postmaster === undefined && backends.length === 0 && (await supervisors()).length === 0
    })
  }
  async function dispose(): Promise<void> {
    try {
      await stopped()
    } finally {
      await rm(root, { recursive: true, force: true, maxRetries: 5 })
    }
  }
  return { path, folder, supervisors, stopped, [Symbol.asyncDispose]: dispose }
}

interface OwnerProcess extends AsyncDisposable {
  readonly url: string
  readonly started: boolean
  /** Lets it close and end. */
  leave(): Promise<void>
  killGroup(): Promise<void>
}

const program = `
  import { openEmbedded } from ${JSON.stringify(import.meta.resolve('./open.ts'))}
  await using postgres = await openEmbedded({ dataDirectory: process.argv[1], log: () => {} })
  console.log(JSON.stringify({ url: postgres.url, started: postgres.started }))
  for await (const _ of process.stdin);`

function spawnOwner(path: string, env: NodeJS.ProcessEnv = { PATH: process.env['PATH'] }): ChildProcess {
  const args = ['--input-type=module', '--eval', program, path]
  return spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'], detached: true, env })
}

async function owner(path: string, env?: NodeJS.ProcessEnv): Promise<OwnerProcess> {
  const child = spawnOwner(path, env)
  const { stdout, stdin, pid } = child
  assert.ok(stdout !== null && stdin !== null && pid !== undefined)
  const exited = once(child, 'exit')
  let opened: { url: string; started: boolean } | undefined
  for await (const line of createInterface(stdout)) {
    opened = JSON.parse(line)
    break
  }
  assert.ok(opened, 'the process ended before it owned the server')
  const leave = async () => {
    stdin.end()
    await exited
  }
  const killGroup = async () => {
    process.kill(-pid, 'SIGKILL')
    await exited
  }
  return { ...opened, leave, killGroup, [Symbol.asyncDispose]: leave }
}

async function query(url: string, sql: string): Promise<unknown[]> {
  await using client = await connected(url)
  return (await client.query(sql)).rows
}

async function connected(url: string): Promise<Client & AsyncDisposable> {
  const client = new Client(url)
  client.on('error', () => {})
  await client.connect()
  return Object.assign(client, { [Symbol.asyncDispose]: async () => await client.end().catch(() => {}) })
}

async function unfinished(folder: EmbeddedFolder): Promise<string[]> {
  const entries = await readdir(folder.root).catch(() => [])
  return entries.filter((entry) => entry.startsWith('cluster.new-'))
}

async function kill(...pids: (number | undefined)[]): Promise<void> {
  for (const pid of pids) {
    assert.ok(pid !== undefined)
    process.kill(pid, 'SIGKILL')
    await until(async () => !(await isAlive(pid)))
  }
}

async function isAlive(pid: number): Promise<boolean> {
  const { stdout } = await promisify(execFile)('ps', ['-o', 'stat=', '-p', String(pid)]).catch(() => ({ stdout: '' }))
  // With `l` other threads are still ending, and what the process has open is open until they have.
  const state = stdout.trim()
  return state !== '' && (!state.startsWith('Z') || state.includes('l'))
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 20_000
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, 'it did not happen in time')
    await pause(10)
  }
}
