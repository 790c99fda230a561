import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { openServed } from './served.ts'

const schemathesis = process.env['MILLRACE_SCHEMATHESIS']
const examples = process.env['CI'] ? 40 : 15

// It makes requests from the document, good ones and bad ones, and holds each answer against it.
test('every address answers as its document says, whatever is asked', {
  skip: schemathesis === undefined ? 'schemathesis is not installed: .ci/setup brings it' : false,
  timeout: 10 * 60_000,
}, async () => {
  await using served = await openServed()
  const args = ['run', `${served.url}/api/openapi.json`, '--no-color', '--continue-on-failure']
  // events never end
  args.push('--exclude-path', '/api/events', '--max-examples', String(examples))
  const told = await promisify(execFile)(schemathesis ?? '', args, { maxBuffer: 64_000_000, cwd: served.folder }).catch(
    (error: { stdout: string }) => error,
  )
  assert.match(told.stdout, /\d+ generated, \d+ passed/, told.stdout.slice(-8000))
})
