import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sparkAddress } from './address.ts'

test('an address has a host, a port, and what stands behind it', () => {
  assert.deepEqual(sparkAddress('sc://spark'), {
    baseUrl: 'http://spark:15002',
    token: undefined,
    userId: 'millrace',
    headers: {},
  })
  assert.deepEqual(sparkAddress('sc://h.example:443/;token=a%20b;user_id=me;x-cluster=7'), {
    baseUrl: 'https://h.example:443',
    token: 'a b',
    userId: 'me',
    headers: { 'x-cluster': '7' },
  })
  assert.equal(sparkAddress('sc://h:1/;use_ssl=true').baseUrl, 'https://h:1')
  assert.equal(sparkAddress('sc://[::1]:15002/;token=t').baseUrl, 'http://[::1]:15002', 'this machine needs no TLS')
})

test('what is no address, or would show a token, is refused', () => {
  for (const remote of ['', 'spark:15002', 'sc://', 'sc://host:port', 'sc://h/;token'])
    assert.throws(() => sparkAddress(remote), /INVALID_SETTING|SPARK_REMOTE/, remote)
  assert.throws(() => sparkAddress('sc://h/;token=t;use_ssl=false'), /without TLS/)
})
