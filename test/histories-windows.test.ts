import { after, test } from 'node:test'
import { openBench } from './histories.ts'
import { checkWindowHistory } from './window-histories.ts'

const histories = Number(process.env['MILLRACE_HISTORIES'] ?? 500)
const first = Number(process.env['MILLRACE_SEED'] ?? Date.now() % 1_000_000_000)

const bench = await openBench()
after(() => bench[Symbol.asyncDispose]())

test(`${histories} generated histories of windows from seed ${first} end as the reference says`, {
  timeout: 45 * 60_000,
}, async () => {
  for (let i = 0; i < histories; i++) await checkWindowHistory(bench, first + i)
})
