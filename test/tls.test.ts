import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { MillraceError } from '../src/errors.ts'
import { breakOff, clientConfig, connectPatiently } from '../src/store/connection.ts'
import { openPostgres } from '../src/store/postgres.ts'
import { noOpenssl } from './crash/certificates.ts'
import { firstWave, modelOf } from './crash/events.ts'
import { eventually } from './crash/process.ts'
import { standsInTransaction } from './crash/standing.ts'
import { type TlsServer, tlsServer } from './crash/tls.ts'
import { openWorld } from './crash/world.ts'

type Parameters = Record<string, string>

describe('a Postgres that is spoken to over TLS', { skip: noOpenssl || process.platform === 'win32' }, () => {
  let server: TlsServer
  before(async () => {
    server = await tlsServer()
  })
  after(async () => {
    await server[Symbol.asyncDispose]()
  })

  /** What the server says of a session that was opened so. */
  async function session(
    url: string,
    environment: Parameters = {},
  ): Promise<{ encrypted: boolean; certificate: string | null }> {
    const wait = {
      waitMs: 30_000,
      onWait: (why: string) => assert.fail(`it waits, though nothing will change: ${why}`),
    }
    const client = await connectPatiently(clientConfig(url, environment), wait)
    try {
      const { rows } = await client.query<{ encrypted: boolean; certificate: string | null }>(
        'select ssl as encrypted, client_dn as certificate from pg_stat_ssl where pid = pg_backend_pid()',
      )
      return rows[0] ?? assert.fail('the server does not know the session')
    } finally {
      breakOff(client)
    }
  }

  async function refusal(url: string, environment: Parameters = {}): Promise<MillraceError> {
    const error: unknown = await session(url, environment).catch((thrown) => thrown)
    assert.ok(error instanceof MillraceError, `it should be refused: ${JSON.stringify(error)}`)
    return error
  }

  test('it is encrypted whenever sslmode allows that', async () => {
    const cases: { parameters: Parameters; environment?: Parameters; host?: string }[] = [
      { parameters: {} },
      { parameters: { sslmode: 'allow' } },
      { parameters: { sslmode: 'prefer' } },
      { parameters: { sslmode: 'prefer', sslrootcert: server.ca } },
      { parameters: { sslmode: 'require' } },
      { parameters: { sslmode: 'require', sslrootcert: server.ca } },
      { parameters: { sslmode: 'require' }, host: '127.0.0.1' },
      { parameters: { sslmode: 'verify-ca', sslrootcert: server.ca } },
      { parameters: { sslmode: 'verify-ca', sslrootcert: server.ca }, host: '127.0.0.1' },
      { parameters: { sslmode: 'verify-full', sslrootcert: server.ca } },
      { parameters: { sslmode: 'verify-full', sslrootcert: server.ca, sslnegotiation: 'direct' } },
      { parameters: {}, environment: { PGSSLMODE: 'verify-full', PGSSLROOTCERT: server.ca } },
      // what stands in the URL goes before the variable
      { parameters: { sslmode: 'require' }, environment: { PGSSLMODE: 'disable' } },
      {
        parameters: { sslrootcert: server.ca },
        environment: { PGSSLMODE: 'verify-ca', PGSSLROOTCERT: server.otherCa },
      },
    ]
    for (const { parameters, environment, host } of cases) {
      const found = await session(server.url(parameters, host ? { host } : {}), environment)
      assert.equal(found.encrypted, true, JSON.stringify({ parameters, environment, host }))
    }
  })

  test('a client certificate is shown to a server that asks for one', async () => {
    const user = 'certified'
    const { cert: sslcert, key: sslkey } = server
    assert.deepEqual(await session(server.url({ sslmode: 'require', sslcert, sslkey }, { user })), {
      encrypted: true,
      certificate: '/CN=certified',
    })
    const byVariables = { PGSSLMODE: 'verify-full', PGSSLROOTCERT: server.ca, PGSSLCERT: sslcert, PGSSLKEY: sslkey }
    assert.equal((await session(server.url({}, { user }), byVariables)).certificate, '/CN=certified')
  })

  test('a refusal says what is wrong, where, and what to set', async () => {
    const otherKey = server.otherCa.replace('.crt', '.key')
    const full = { sslmode: 'verify-full' }
    const cases: { parameters: Parameters; user?: string; host?: string; message: RegExp; hint: RegExp }[] = [
      { parameters: { sslmode: 'disable' }, message: /no encryption/, hint: /set sslmode=require/ },
      { parameters: full, message: /not one of a known authority/, hint: /set sslrootcert/ },
      {
        parameters: { ...full, sslrootcert: server.otherCa },
        message: /not one of a known authority/,
        hint: /set sslrootcert/,
      },
      // what must be checked and is wrong is no reason to go on without encryption
      {
        parameters: { sslmode: 'prefer', sslrootcert: server.otherCa },
        message: /not one of a known authority/,
        hint: /set sslrootcert/,
      },
      {
        parameters: { ...full, sslrootcert: server.ca },
        host: '127.0.0.1',
        message: /is for another host.*127\.0\.0\.1/,
        hint: /sslmode=verify-ca/,
      },
      {
        parameters: { sslmode: 'require' },
        user: 'certified',
        message: /asks for a client certificate/,
        hint: /set sslcert and sslkey/,
      },
      {
        parameters: { sslmode: 'require', sslcert: server.otherCa, sslkey: otherKey },
        user: 'certified',
        message: /broke off the TLS handshake: unknown ca/,
        hint: /ssl_ca_file/,
      },
      {
        parameters: { sslmode: 'require', sslcert: server.cert, sslkey: otherKey },
        user: 'certified',
        message: /key values mismatch/,
        hint: /a certificate and its own key/,
      },
    ]
    for (const { parameters, user = 'app', host = 'localhost', message, hint } of cases) {
      const error = await refusal(server.url(parameters, { user, host }))
      const about = `${JSON.stringify(parameters)}: ${error}`
      assert.equal(error.code, 'DATABASE_UNREACHABLE', about)
      assert.match(error.message, message, about)
      assert.match(error.hint ?? '', hint, about)
      assert.match(error.at ?? '', new RegExp(`^${host}:\\d+/shop$`), about)
    }
  })

  test('a server that has no TLS, or lets nobody in by it, is spoken to without only where that was not ruled out', async () => {
    const plain = new URL(server.url())
    plain.pathname = '/plain'
    assert.equal((await session(plain.href)).encrypted, false)
    await server.set('ssl = off')
    try {
      // the settings are read a moment after they are changed
      const error = await eventually(
        async () => {
          const refused = await refusal(`${plain}?sslmode=require`)
          return refused.message === 'the server does not speak TLS' && refused
        },
        { what: () => 'it is refused for having no TLS' },
      )
      assert.match(error.hint ?? '', /sslmode=prefer/)
      assert.equal((await session(`${plain}?sslmode=prefer`)).encrypted, false)
    } finally {
      await server.set('ssl = on')
    }
    await eventually(async () => await session(server.url({ sslmode: 'require' })).catch(() => undefined), {
      what: () => 'the server speaks TLS again',
    })
  })

  test('what waits for the answer of a session that is broken off fails', async () => {
    const wait = { waitMs: 0, onWait: () => {} }
    const client = await connectPatiently(clientConfig(server.url({ sslmode: 'require' }), {}), wait)
    const answer = client.query('select pg_sleep(60)')
    breakOff(client)
    await assert.rejects(answer, /terminated/)
  })

  test('with sslmode=prefer all that a store opens later is encrypted too', async () => {
    const url = server.url({ sslmode: 'prefer' })
    await using store = await openPostgres({ url, waitMs: 0, onWait: () => {}, migrations: [] })
    const [row] = await store.select('select ssl from pg_stat_ssl where pid = pg_backend_pid()')
    assert.deepEqual(row, { ssl: true })
  })

  test('a bounded run works over TLS, and every session of it is encrypted', async () => {
    const url = server.url({ sslmode: 'verify-full', sslrootcert: server.ca })
    await using world = await openWorld({ url })
    await world.lay(firstWave)
    await using run = world.start(['run', 'shop-events', '--input', world.inputs, '--json'], {
      MILLRACE_FAILPOINT: 'after rows@2=delay:1500',
    })
    await standsInTransaction(world, run)
    const sessions = await world.sql<{ name: string; encrypted: boolean }>(`
      select a.application_name as name, s.ssl as encrypted
      from   pg_stat_activity a
      join   pg_stat_ssl s using (pid)
      where  a.datname = 'shop' and a.pid <> pg_backend_pid()
      order by 1`)
    assert.deepEqual(
      [...new Set(sessions.map(({ name }) => name))],
      ['millrace', 'millrace lease shop-events', 'millrace shop-events'],
      'those that ask, that listen, and that copy',
    )
    assert.ok(
      sessions.every(({ encrypted }) => encrypted),
      JSON.stringify(sessions),
    )
    assert.deepEqual(await run.ended(), { code: 0, signal: null }, run.story())
    const { books } = modelOf(firstWave)
    assert.partialDeepStrictEqual(JSON.parse(run.out), {
      rows_in: books.rowsIn,
      written: books.written,
      duplicates: books.duplicates,
      dead: books.dead,
    })
    const [stored] = await world.sql<{ n: number; batches: number }>(
      'select (select count(*)::int from user_events) as n, (select count(*)::int from millrace.batches) as batches',
    )
    assert.equal(stored?.n, books.written)
    assert.ok((stored?.batches ?? 0) >= 3, 'there were a few batches')
  })

  test('a command line that cannot get in says why, and does not wait', async () => {
    await using world = await openWorld({ url: server.url({ sslmode: 'verify-full', sslrootcert: server.otherCa }) })
    await using run = world.start(['run', 'shop-events'])
    assert.equal((await run.ended()).code, 1)
    assert.match(run.story(), /DATABASE_UNREACHABLE.*known authority.*\n.*set sslrootcert/)
  })
})
