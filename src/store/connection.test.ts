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
  await writeFile(ca, 'a certificate')
  const cases: [string, Record<string, string>, unknown][] = [
    ['', {}, false],
    ['?sslmode=disable', { PGSSLMODE: 'verify-full' }, false],
    ['?sslmode=require', {}, { rejectUnauthorized: false }],
    ['?sslmode=verify-full', {}, {}],
    [`?sslmode=verify-full&sslrootcert=${encodeURIComponent(ca)}`, {}, { ca: 'a certificate' }],
    ['', { PGSSLMODE: 'verify-full', PGSSLROOTCERT: ca }, { ca: 'a certificate' }],
  ]
  for (const [query, environment, expected] of cases) {
    const config = clientConfig(`${url}${query}`, environment)
    assert.deepEqual(config.ssl, expected, query)
    assert.equal(config.connectionString, url)
  }
  const byAuthority = clientConfig(`${url}?sslmode=verify-ca&sslrootcert=${encodeURIComponent(ca)}`, {}).ssl
  assert.ok(typeof byAuthority === 'object' && 'checkServerIdentity' in byAuthority, 'verify-ca asks for no name')
})

test('an sslmode that is none, and a certificate that is not there, are refused by name', () => {
  assert.throws(() => clientConfig(`${url}?sslmode=maybe`, {}), { code: 'INVALID_SETTING', at: 'sslmode' })
  assert.throws(() => clientConfig(`${url}?sslmode=require&sslrootcert=/none`, {}), { at: 'sslrootcert' })
})

test('a failing database is told from a failing row by its SQLSTATE', () => {
  const failing = (code: string): Error => Object.assign(new Error('it failed'), { code })
  for (const code of ['08006', '40001', '53100', '57P01', 'ECONNRESET']) {
    assert.equal(isTransient(failing(code)), true, code)
    assert.equal(isRowFault(failing(code)), false, code)
  }
  for (const code of ['22003', '23505', '54000']) {
    assert.equal(isRowFault(failing(code)), true, code)
    assert.equal(isTransient(failing(code)), false, code)
  }
  assert.equal(isTransient(failing('42601')), false, 'a fault of ours stops the pipeline')
})
