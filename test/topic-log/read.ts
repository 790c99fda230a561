/** Reads a topic until it is killed: `read.ts <folder> <topic>`. Each record is a line on stdout: `<offset> <value> <ms>`. */
import { writeSync } from 'node:fs'
import { openLocalTopics } from '../../src/sources/topic/log/open.ts'

const [folder = '', topic = ''] = process.argv.slice(2)
const reader = await openLocalTopics(folder).openReader(topic)
const sink = {
  full: false,
  take(bytes: Buffer, at: { offset: number; valueFrom: number; valueTo: number }) {
    const value = bytes.toString('latin1', at.valueFrom, at.valueTo)
    writeSync(1, `${at.offset} ${value} ${performance.timeOrigin + performance.now()}\n`)
  },
}
writeSync(1, 'reads\n')
let next = new Map([[0, 0]])
for (;;) next = await reader.read(next, sink, 60_000)
