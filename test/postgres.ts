/** A real Postgres for tests: a database of its own in a server that all test files share and that ends with the last. */
import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { type Client, clientConfig, connect } from '../src/store/connection.ts'
import { openEmbedded } from '../src/store/embedded/open.ts'

export interface TestDatabase extends AsyncDisposable {
  url: string
  connect(): Promise<Client>
}

/** A fresh database: of the server in MILLRACE_TEST_DATABASE_URL if that is set, else of the embedded one. */
export async function testDatabase(options = ''): Promise<TestDatabase> {
  const server = await openServer()
  const name = `test_${randomBytes(6).toString('hex')}`
  await sql(server.url, `create database ${name} ${options}`)
  const url = new URL(server.url)
  url.pathname = `/${name}`
  const clients: Client[] = []
  return {
    url: url.href,
    async connect() {
      const client = await connect(clientConfig(url.href))
      clients.push(client)
      return client
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients) await client.end().catch(() => {})
      await sql(server.url, `drop database if exists ${name} with (force)`)
      await server[Symbol.asyncDispose]()
    },
  }
}

async function openServer(): Promise<{ url: string } & AsyncDisposable> {
  const given = process.env['MILLRACE_TEST_DATABASE_URL']
  if (given) return { url: given, async [Symbol.asyncDispose]() {} }
  const dataDirectory = join(tmpdir(), `millrace-test-${userInfo().uid}`)
  await mkdir(dataDirectory, { recursive: true, mode: 0o700 })
  return await openEmbedded({ dataDirectory, log: () => {} })
}

async function sql(url: string, statement: string): Promise<void> {
  const client = await connect(clientConfig(url))
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}
