/**
 * Appends to a topic until it is killed: `append.ts <folder> <topic> <run>`. Each acknowledged append is a line on stdout,
 * `<partition> <first offset> <lane> <first number> <count>`; the record of number n has the value `<run> <lane> <n> xxx`.
 */
import { writeSync } from 'node:fs'
import { openLocalTopics } from '../../src/sources/topic/log/open.ts'

const [folder = '', topic = '', run = ''] = process.argv.slice(2)
const writer = await openLocalTopics(folder, { segmentBytes: 300_000 }).openWriter(topic)

async function appendAlways(lane: number): Promise<void> {
  for (let from = 0; ; ) {
    const count = 1 + Math.floor(Math.random() * 40)
    const records = Array.from({ length: count }, (_, n) => ({
      value: Buffer.from(`${run} ${lane} ${from + n} ${'x'.repeat(Math.floor(Math.random() ** 4 * 3000))}`),
    }))
    const [lies] = await writer.append(records)
    // a line is written at once: what is killed afterwards has acknowledged it
    writeSync(1, `${lies?.partition} ${lies?.first} ${lane} ${from} ${count}\n`)
    from += count
  }
}

await Promise.all([0, 1, 2, 3].map(appendAlways))
