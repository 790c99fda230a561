import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { envExample } from '../config.ts'
import { systemSettings } from './open.ts'

test('.env.example is what the settings say: millrace config --env-example > .env.example', () => {
  const written = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8')
  assert.equal(written, envExample(systemSettings()))
})
