import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { openServed } from './served.ts'

const schemathesis = process.env['MILLRACE_SCHEMATHESIS']
// `MILLRACE_EXAMPLES=400` makes more than 10,000 requests
const examples = Number(process.env['MILLRACE_EXAMPLES'] ?? (process.env['CI'] ? 40 : 15))

// It makes requests from the document, good ones and bad ones, and holds each answer against it.
test('every address answers as its document says, whatever is asked', {
  skip: schemathesis === undefined ? 'schemathesis is not installed: .ci/setup brings it' : false,
  timeout: 60 * 60_000,
}, async (t) => {
  await using served = await openServed()
  // events may be as the document says and not as their pipeline would have them, or under a key that came before
  const statuses = ['2xx', '3xx', '401', '403', '404', '409', '422', '5xx']
    .map((each) => JSON.stringify(each))
    .join(', ')
  await writeFile(
    join(served.folder, 'schemathesis.toml'),
    `[checks]\npositive_data_acceptance.expected-statuses = [${statuses}]\n`,
  )
  const args = ['run', `${served.url}/api/openapi.json`, '--no-color', '--continue-on-failure']
  // events never end
  args.push('--exclude-path', '/api/events', '--max-examples', String(examples))
  const told = await promisify(execFile)(schemathesis ?? '', args, { maxBuffer: 64_000_000, cwd: served.folder }).catch(
    (error: { stdout: string }) => error,
  )
  const [cases] = /\d+ generated, .*/.exec(told.stdout) ?? []
  t.diagnostic(cases ?? 'it made none')
  assert.match(told.stdout, /\d+ generated, \d+ passed/, told.stdout.slice(-8000))
})
