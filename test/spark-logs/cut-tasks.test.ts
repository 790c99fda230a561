import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { TaskCutter, tasksCut } from '../../pipelines/spark-logs/event-logs/cut-tasks.ts'
import { eventsIn, linesIn, tasksOf } from '../../pipelines/spark-logs/event-logs/parse.ts'
import { Bytes } from '../../pipelines/spark-logs/event-logs/scan.ts'
import { addTrimmed, isOfNoTask, isOfNoUse } from '../../pipelines/spark-logs/event-logs/trim.ts'
import { Duck } from '../../src/engine/duckdb.ts'
import { randomFrom } from '../histories.ts'
import { named } from './samples.ts'

type Row = Record<string, unknown>

const all = Object.values(named).flatMap(({ lines }) => lines)
const ofTasks = all.filter((line) => /^\{"Event":"SparkListenerTask(Start|End)"/.test(line))

interface Reader extends AsyncDisposable {
  rows(lines: string[], select: (path: string) => string): Promise<Row[]>
}

async function openReader(): Promise<Reader> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-cut-tasks-'))
  const temporary = join(folder, 'duckdb')
  const duck = await Duck.open({ folders: [folder], temporary, memoryLimitMb: 128, threads: 1 })
  const session = await duck.connect()
  return {
    async rows(lines, select) {
      const path = join(folder, 'lines')
      await writeFile(path, lines.map((line) => `${line}\n`).join(''))
      return await session.rows(select(path))
    },
    async [Symbol.asyncDispose]() {
      session.close()
      await duck[Symbol.asyncDispose]()
      await rm(folder, { recursive: true })
    },
  }
}

// The lines that are taken, and the rows that are made of them.
function cut(lines: string[]): { taken: string[]; rows: string } {
  const cutter = new TaskCutter()
  const taken = lines.filter((line) => {
    const bytes = Buffer.from(`${line}\n`)
    return cutter.take(bytes, 0, bytes.length - 1)
  })
  return { taken, rows: cutter.rows.buffer.toString('utf8', 0, cutter.rows.used).trimEnd() }
}

async function areTheSame(reader: Reader, lines: string[]): Promise<number> {
  const { taken, rows } = cut(lines)
  const ours = await reader.rows([rows], tasksCut)
  const theirs = await reader.rows(taken, (path) => {
    return tasksOf(`(${linesIn(path)})`)
  })
  assert.deepEqual(ours, theirs)
  return taken.length
}

test('tasks that are cut out of the bytes are those that DuckDB reads', async () => {
  await using reader = await openReader()
  const well = ofTasks.filter((line) => line.includes('TaskStart"') || line.includes('"Reason":"Success"'))
  assert.ok(well.length > 100)
  assert.equal(await areTheSame(reader, ofTasks), well.length)
})

test('a line that is unusual is left, or says the same', async () => {
  const seed = Number(process.env['MILLRACE_SEED'] ?? 7)
  const random = randomFrom(seed)
  const pick = <T>(values: readonly T[]): T | undefined => values[Math.floor(random() * values.length)]
  const odd = [
    null,
    true,
    false,
    0,
    -1,
    1.5,
    1e20,
    9_999_999_999,
    '',
    'a',
    '12',
    'é',
    'a"b',
    'a\nb',
    [],
    {},
    [{ a: ']' }],
    ']},',
    [{ a: ']},' }],
    [{ a: [1], b: { c: [1] }, d: 1 }],
  ]
  await using reader = await openReader()
  const lines = Array.from({ length: 3000 }, () => {
    const event = JSON.parse(pick(ofTasks) ?? '{}') as Row
    const objects: Row[] = []
    const collect = (value: unknown): void => {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return
      // as: an object of JSON
      objects.push(value as Row)
      Object.values(value).forEach(collect)
    }
    collect(event)
    const changed = pick(objects) ?? event
    const key = pick(Object.keys(changed).filter((name) => name !== 'Event')) ?? 'x'
    switch (pick(['value', 'value', 'key', 'order', 'gone'])) {
      case 'value':
        changed[key] = pick(odd)
        break
      case 'key':
        changed[pick(['Unknown', 'Host', 'with "quotes"', 'Ünknown', '']) ?? ''] = pick(odd)
        break
      case 'gone':
        delete changed[key]
        break
      case 'order': {
        const value = changed[key]
        delete changed[key]
        changed[key] = value
      }
    }
    return JSON.stringify(event)
  })
  const taken = await areTheSame(reader, lines)
  assert.ok(taken > 1000 && taken < 2900, `${taken} of ${lines.length} lines were taken, with seed ${seed}`)
})

test('a line that is damaged is not taken', () => {
  const line = ofTasks.find((each) => each.includes('"Reason":"Success"')) ?? ''
  const other = ofTasks.findLast((each) => each.includes('"Reason":"Success"')) ?? ''
  assert.equal(cut([line, other]).taken.length, 2)
  for (let at = 0; at < line.length; at += 7) {
    assert.equal(cut([line.slice(0, at)]).taken.length, 0, `cut at ${at}`)
    const zeros = `${line.slice(0, at)}\0\0\0${line.slice(at + 3)}`
    assert.equal(cut([zeros]).taken.length, 0, `zeros at ${at}`)
    if (at > 0) assert.equal(cut([line.slice(0, at) + other]).taken.length, 0, `another line at ${at}`)
  }
  assert.equal(cut([`${line} `, `${line}}`, line.slice(1)]).taken.length, 0)
})

test('what is taken away of a line is nothing that is read', async () => {
  await using reader = await openReader()
  const events = all.filter((line) => isOfNoTask(Buffer.from(line), 0))
  const kept = events.map((line) => {
    const [to, bytes] = [new Bytes(), Buffer.from(`${line}\n`)]
    addTrimmed(to, bytes, 0, bytes.length - 1)
    return to.buffer.toString('utf8', 0, to.used - 1)
  })
  assert.ok(kept.join('').length < 0.9 * events.join('').length)
  assert.deepEqual(await reader.rows(kept, eventsIn), await reader.rows(events, eventsIn))
})

test('an event of no use is known by its name, where it is whole', () => {
  const useless = (line: string): boolean => isOfNoUse(Buffer.from(`${line}\n`), 0, line.length)
  assert.ok(useless('{"Event":"SparkListenerBlockUpdated","Block Updated Info":{"Block ID":"rdd_1_2"}}'))
  assert.ok(!useless('{"Event":"SparkListenerBlockUpdated","Block Updated Info":{"Block ID":"rdd_1_2"'))
  assert.ok(!useless('{"Event":"SparkListenerJobEnd","Job ID":1}'))
})
