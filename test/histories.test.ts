import { after, test } from 'node:test'
import { checkHistory, openBench } from './histories.ts'

const histories = Number(process.env['MILLRACE_HISTORIES'] ?? 500)
const first = Number(process.env['MILLRACE_SEED'] ?? Date.now() % 1_000_000_000)

const bench = await openBench()
after(() => bench[Symbol.asyncDispose]())

test(`${histories} generated histories from seed ${first} end as the reference says`, {
  timeout: 45 * 60_000,
}, async () => {
  for (let i = 0; i < histories; i++) await checkHistory(bench, first + i)
})
