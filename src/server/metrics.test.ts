import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { metrics } from './metrics.ts'

const page = new URL('../../docs/reference/metrics.md', import.meta.url)

function written(): string {
  const rows = Object.entries(metrics).map(([name, { is, labels, says }]) => {
    return `| \`${name}\` | ${is} | ${labels.join(', ')} | ${says} |`
  })
  return `# Metrics

\`GET /metrics\` answers in the text format of Prometheus; where the server has access tokens, with one that may read. Durations
are seconds, and every counter starts anew with the process but \`millrace_rows_total\`, which is read from the ledger. Beside
these there are the usual ones of a process: \`process_*\` and \`nodejs_*\`.

| metric | kind | labels | meaning |
| ------ | ---- | ------ | ------- |
${rows.join('\n')}
`
}

test('the reference tells of each metric: MILLRACE_WRITE=1 node --test src/server/metrics.test.ts', () => {
  if (process.env['MILLRACE_WRITE']) writeFileSync(page, written())
  assert.equal(readFileSync(page, 'utf8'), written())
})
