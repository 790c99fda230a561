/** What goes over the wire to a Connect server, and what is made of its refusal; what Spark answers is tested where it is. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempDisposable, readFile } from 'node:fs/promises'
import {
  createSecureServer,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { certify, makeAuthority, noOpenssl } from '../../test/crash/certificates.ts'
import { SparkSession } from './connect.ts'

const run = promisify(execFile)
const unauthenticated = '16'

// Lets nobody in, and keeps what it was sent.
async function listen(server: Http2Server): Promise<{ port: number; seen: IncomingHttpHeaders[] }> {
  const seen: IncomingHttpHeaders[] = []
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    seen.push(headers)
    stream.respond(
      {
        ':status': 200,
        'content-type': 'application/grpc',
        'grpc-status': unauthenticated,
        'grpc-message': 'no such token',
      },
      { endStream: true },
    )
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  // as: it listens on a port
  return { port: (server.address() as AddressInfo).port, seen }
}

test('a token and what a vendor asks for are sent, and a server that lets nobody in is told of', async () => {
  const server = createServer()
  try {
    const { port, seen } = await listen(server)
    await assert.rejects(
      () => SparkSession.open({ remote: `sc://127.0.0.1:${port}/;token=a%20b;x-cluster-id=7` }),
      ({ code, message, hint }: { code: string; message: string; hint: string }) => {
        assert.equal(code, 'SPARK_REFUSED')
        assert.match(`${message} ${hint}`, /no such token.*SPARK_REMOTE/)
        return true
      },
    )
    assert.equal(seen.length, 1, 'it is not asked again')
    assert.equal(seen[0]?.['authorization'], 'Bearer a b')
    assert.equal(seen[0]?.['x-cluster-id'], '7')
  } finally {
    server.close()
  }
})

test('over TLS a token goes only to who has a certificate that this machine trusts', { skip: noOpenssl }, async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-spark-tls-'))
  const [authority, own] = [join(folder.path, 'authority'), join(folder.path, 'server')]
  await makeAuthority(authority)
  await certify(authority, own, { name: 'spark', names: 'IP:127.0.0.1' })
  const server = createSecureServer({ key: await readFile(`${own}.key`), cert: await readFile(`${own}.crt`) })
  try {
    const { port, seen } = await listen(server)
    const remote = `sc://127.0.0.1:${port}/;use_ssl=true;token=secret`
    const open = `import { SparkSession } from ${JSON.stringify(new URL('./connect.ts', import.meta.url).href)}
      await SparkSession.open({ remote: ${JSON.stringify(remote)}, waitMs: 0 }).catch(({ code }) => console.log(code))`
    // what a process trusts is settled when it starts
    const asked = async (env: NodeJS.ProcessEnv): Promise<string> => {
      const { stdout } = await run(process.execPath, ['--input-type=module', '-e', open], {
        env: { ...process.env, ...env },
      })
      return stdout.trim()
    }
    assert.equal(await asked({}), 'SPARK_UNREACHABLE')
    assert.equal(seen.length, 0, 'nothing was sent')
    assert.equal(await asked({ NODE_EXTRA_CA_CERTS: `${authority}.crt` }), 'SPARK_REFUSED')
    assert.equal(seen[0]?.['authorization'], 'Bearer secret')
  } finally {
    server.close()
  }
})
