import assert from 'node:assert/strict'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { clientConfig, isRowFault, isTransient } from './connection.ts'

const url = 'postgresql://user:secret@db.example:5433/shop'

test('sslmode means what it means to libpq', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-tls-'))
  const ca = join(folder.path, 'root.crt')
  const pem = '-----BEGIN CERTIFICATE-----'
  await writeFile(ca, pem)
  const cases: [string, Record<string, string>, unknown][] = [
    ['', {}, { rejectUnauthorized: false }],
    ['?ssl=true', { PGSSLMODE: 'disable' }, { rejectUnauthorized: false }],
    ['?sslmode=disable', { PGSSLMODE: 'verify-full' }, false],
    ['?sslmode=require', {}, { rejectUnauthorized: false }],
    ['?sslmode=verify-full', {}, {}],
    [`?sslmode=verify-full&sslrootcert=${encodeURIComponent(ca)}`, {}, { ca: pem }],
    ['', { PGSSLMODE: 'verify-full', PGSSLROOTCERT: ca }, { ca: pem }],
  ]
  for (const [query, environment, expected] of cases) {
    const config = clientConfig(`${url}${query}`, environment)
    assert.deepEqual(config.ssl, expected, query)
    assert.equal(config.connectionString, url)
    assert.equal(config.plainToo, query === '' && environment['PGSSLMODE'] === undefined, query)
  }
  const byAuthority = clientConfig(`${url}?sslmode=verify-ca&sslrootcert=${encodeURIComponent(ca)}`, {}).ssl
  assert.ok(typeof byAuthority === 'object' && 'checkServerIdentity' in byAuthority, 'verify-ca asks for no name')
})

test('PGSSLNEGOTIATION reaches no server without TLS', () => {
  const environment = { PGSSLNEGOTIATION: 'direct' }
  const first = (mode: string): unknown => clientConfig(`${url}?sslmode=${mode}`, environment).sslnegotiation
  assert.deepEqual(['disable', 'prefer', 'require'].map(first), ['postgres', 'postgres', 'direct'])
})

test('TLS settings that cannot be used are refused by name', () => {
  assert.throws(() => clientConfig(`${url}?sslmode=maybe`, {}), { code: 'INVALID_SETTING', at: 'sslmode' })
  assert.throws(() => clientConfig(`${url}?sslmode=require&sslrootcert=/none`, {}), { at: 'sslrootcert' })
  const noPem = encodeURIComponent(join(import.meta.dirname, 'store.ts'))
  assert.throws(() => clientConfig(`${url}?sslmode=require&sslrootcert=${noPem}`, {}), {
    at: 'sslrootcert',
    message: /holds no certificate/,
  })
  assert.throws(() => clientConfig(`${url}?sslcert=a.crt`, {}), { at: 'sslcert', message: /needs its key/ })
})

test('a failing database is told from a failing row by its SQLSTATE', () => {
  const failing = (code: string): Error => Object.assign(new Error('it failed'), { code })
  for (const code of ['08006', '25P03', '40001', '53100', '55P03', '57014', '57P01', 'ECONNRESET']) {
    assert.equal(isTransient(failing(code)), true, code)
    assert.equal(isRowFault(failing(code)), false, code)
  }
  for (const code of ['21000', '22003', '23505', '54000']) {
    assert.equal(isRowFault(failing(code)), true, code)
    assert.equal(isTransient(failing(code)), false, code)
  }
  assert.equal(isTransient(failing('42601')), false, 'a fault of ours stops the pipeline')
  assert.equal(isTransient(failing('EPROTO')), false, 'a handshake that failed fails again')
  // the words of a pool whose sessions are all in use
  assert.equal(isTransient(new Error('timeout exceeded when trying to connect')), true)
})
