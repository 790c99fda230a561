import assert from 'node:assert/strict'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { loadConfig } from './config.ts'
import { MillraceError } from './errors.ts'

function load(environment: Record<string, string>): ReturnType<typeof loadConfig> {
  return loadConfig({}, environment, tmpdir())
}

describe('where Kafka is', () => {
  const servers = { KAFKA_BOOTSTRAP_SERVERS: 'one.example:9092, [::1]:9093,10.0.0.7:19092,' }

  test('without servers there is none, and topics are local', () => {
    assert.equal(load({ KAFKA_SASL_USERNAME: 'alice' }).kafka, undefined)
  })

  test('servers are host and port, with commas between them', () => {
    assert.deepEqual(load(servers).kafka, {
      servers: [
        { host: 'one.example', port: 9092 },
        { host: '::1', port: 9093 },
        { host: '10.0.0.7', port: 19092 },
      ],
      tls: undefined,
      sasl: undefined,
    })
  })

  test('TLS and a login are what the protocol says, with files from where the settings are read', () => {
    const login = { KAFKA_SASL_USERNAME: 'alice', KAFKA_SASL_PASSWORD: 'secret', KAFKA_SASL_MECHANISM: 'SCRAM-SHA-256' }
    const files = { KAFKA_SSL_CA: 'ca.pem', KAFKA_SSL_CERT: '/etc/us.pem', KAFKA_SSL_KEY: '/etc/us.key' }
    const sasl = { mechanism: 'SCRAM-SHA-256', username: 'alice', password: 'secret' }
    const tls = { ca: join(tmpdir(), 'ca.pem'), cert: '/etc/us.pem', key: '/etc/us.key' }
    const none = { ca: undefined, cert: undefined, key: undefined }
    const cases = [
      { protocol: 'PLAINTEXT', environment: {}, tls: undefined, sasl: undefined },
      { protocol: 'SSL', environment: {}, tls: none, sasl: undefined },
      { protocol: 'SSL', environment: files, tls, sasl: undefined },
      { protocol: 'SASL_PLAINTEXT', environment: { ...login, ...files }, tls: undefined, sasl },
      { protocol: 'SASL_SSL', environment: { ...login, ...files }, tls, sasl },
    ]
    for (const { protocol, environment, ...expected } of cases) {
      const { kafka } = load({ ...servers, ...environment, KAFKA_SECURITY_PROTOCOL: protocol })
      assert.deepEqual({ tls: kafka?.tls, sasl: kafka?.sasl }, expected, protocol)
    }
  })

  test('the password is shown to nobody, and a login that is not used is told', () => {
    const { resolved, warnings } = load({ ...servers, KAFKA_SASL_USERNAME: 'alice', KAFKA_SASL_PASSWORD: 'secret-7' })
    assert.equal(resolved.find(({ name }) => name === 'KAFKA_SASL_PASSWORD')?.value, '***')
    assert.ok(!JSON.stringify(resolved).includes('secret-7'))
    assert.deepEqual(warnings, ['KAFKA_SASL_USERNAME is not used: KAFKA_SECURITY_PROTOCOL is PLAINTEXT'])
  })

  test('what cannot be used is an error that names its variable', () => {
    const wrong: [variable: string, environment: Record<string, string>][] = [
      ['KAFKA_BOOTSTRAP_SERVERS', { KAFKA_BOOTSTRAP_SERVERS: 'one.example' }],
      ['KAFKA_BOOTSTRAP_SERVERS', { KAFKA_BOOTSTRAP_SERVERS: 'one.example:0' }],
      ['KAFKA_BOOTSTRAP_SERVERS', { KAFKA_BOOTSTRAP_SERVERS: 'one.example:70000' }],
      ['KAFKA_BOOTSTRAP_SERVERS', { KAFKA_BOOTSTRAP_SERVERS: 'kafka://one.example:9092' }],
      ['KAFKA_BOOTSTRAP_SERVERS', { KAFKA_BOOTSTRAP_SERVERS: '::1:9092' }],
      ['KAFKA_SECURITY_PROTOCOL', { ...servers, KAFKA_SECURITY_PROTOCOL: 'TLS' }],
      ['KAFKA_SASL_MECHANISM', { ...servers, KAFKA_SASL_MECHANISM: 'GSSAPI' }],
      ['KAFKA_SASL_USERNAME', { ...servers, KAFKA_SECURITY_PROTOCOL: 'SASL_SSL' }],
      ['KAFKA_SSL_KEY', { ...servers, KAFKA_SECURITY_PROTOCOL: 'SSL', KAFKA_SSL_CERT: 'us.pem' }],
      ['KAFKA_SSL_CERT', { ...servers, KAFKA_SECURITY_PROTOCOL: 'SSL', KAFKA_SSL_KEY: 'us.key' }],
    ]
    for (const [variable, environment] of wrong) {
      assert.throws(
        () => load(environment),
        (error) => error instanceof MillraceError && error.code === 'INVALID_SETTING' && error.at === variable,
        JSON.stringify(environment),
      )
    }
  })
})
