/** A Postgres that is spoken to over TLS, with certificates of an authority that the test makes. */
import { appendFile, copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { breakOff, clientConfig, connect } from '../../src/store/connection.ts'
import { embeddedFolder } from '../../src/store/embedded/folder.ts'
import { certify, makeAuthority } from './certificates.ts'
import { ownServer } from './cluster.ts'

export interface TlsServer extends AsyncDisposable {
  /** As `name` (`app` by password, `certified` by certificate alone too), at this host, with these parameters. */
  url(parameters?: Record<string, string>, at?: { user?: string; host?: string }): string
  /** Paths of the certificates: of the authority and of another one, and of the user `certified`, with its key. */
  ca: string
  otherCa: string
  cert: string
  key: string
  /** Changes its settings and lets it read them. */
  set(setting: string): Promise<void>
}

/** The database `shop` of this server is reached over TLS alone, `plain` without it alone. */
export async function tlsServer(): Promise<TlsServer> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-tls-'))
  const at = (name: string): string => join(folder, name)
  const server = await ownServer(at('data'))
  const { cluster } = embeddedFolder(at('data'))
  await makeAuthority(at('ca'))
  await makeAuthority(at('other-ca'))
  await certify(at('ca'), at('server'), { name: 'localhost', names: 'DNS:localhost' })
  await certify(at('ca'), at('certified'), { name: 'certified' })
  // beside the server's own files, where whoever runs it may read them
  for (const name of ['server.crt', 'server.key', 'ca.crt']) await copyFile(at(name), join(cluster, name))
  await writeFile(
    join(cluster, 'pg_hba.conf'),
    `
hostssl   shop     certified 127.0.0.1/32 scram-sha-256 clientcert=verify-full
hostssl   shop     app       127.0.0.1/32 scram-sha-256
hostnossl plain    app       127.0.0.1/32 scram-sha-256
hostnossl all      millrace  127.0.0.1/32 scram-sha-256
`,
  )
  const set = async (setting: string): Promise<void> => {
    await appendFile(join(cluster, 'postgresql.conf'), `\n${setting}\n`)
    await asAdministrator(server.postgres.url, 'select pg_reload_conf()')
  }
  for (const statement of [
    `create user app password 'secret'`,
    `create user certified password 'secret'`,
    'create database shop owner app',
    'create database plain owner app',
    'grant app to certified',
  ])
    await asAdministrator(server.postgres.url, statement)
  await set(`ssl = on\nssl_ca_file = 'ca.crt'`)
  return {
    url(parameters = {}, { user = 'app', host = 'localhost' } = {}) {
      const url = new URL(`postgresql://${user}:secret@${host}:${server.postgres.port}/shop`)
      for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
      return url.href
    },
    ca: at('ca.crt'),
    otherCa: at('other-ca.crt'),
    cert: at('certified.crt'),
    key: at('certified.key'),
    set,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function asAdministrator(url: string, statement: string): Promise<void> {
  const client = await connect(clientConfig(url))
  try {
    await client.query(statement)
  } finally {
    breakOff(client)
  }
}
