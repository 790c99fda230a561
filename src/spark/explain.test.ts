import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sql } from '../functions/sql.ts'
import { files, folder, functions, pipeline, publish, table, text, timestamp, topic } from '../index.ts'
import type { Plan } from '../plan/plan.ts'
import { explainSpark, sparkExplanationText } from './explain.ts'
import { sparkPlan } from './plan-sql.ts'

const source = files('in', { format: 'csv', columns: { id: text().notEmpty(), name: text() } })

const refused: [string, Plan, RegExp][] = [
  ['a dedup', pipeline('p').from(source).dedup('id').into(table('t')).plan, /dedup.*remembers keys/],
  ['a topic', pipeline('p').from(source).into(publish('t')).plan, /\(topic\) publishes messages/],
  [
    'a folder',
    pipeline('p')
      .from(source)
      .into(folder('t', { format: 'parquet' })).plan,
    /\(files\) writes a file/,
  ],
  [
    'SQL of DuckDB',
    pipeline('p')
      .from(source)
      .select((row) => ({ id: row.id, up: sql('upper(name)', 'text') }))
      .into(table('t', { key: 'id' })).plan,
    /has what Spark has not: sql\("upper\(name\)"\) is DuckDB's own/,
  ],
  [
    'two ways for a row',
    pipeline('p')
      .from(source)
      .also((flow) => flow.into(table('a', { key: 'id' })))
      .into(table('b', { key: 'id' })).plan,
    /go more than one way \(table, table-2\)/,
  ],
]

for (const [what, plan, why] of refused) {
  test(`${what} is refused on Spark in a sentence, and the explanation says so`, () => {
    const explanation = explainSpark(plan)
    assert.match(explanation.refused.join('\n'), why)
    assert.deepEqual(explanation.views, [])
    assert.match(sparkExplanationText(explanation), /refused: /)
    assert.throws(() => sparkPlan(plan), why)
  })
}

test('what is explained has a view for each step, the merge of each table, and the books', () => {
  const plan = pipeline('p')
    .from(source)
    .filter((row) => functions.startsWith(row.id, "it's"))
    .into(table('t', { oncePer: 'id' })).plan
  const text = sparkExplanationText(explainSpark(plan))
  for (const part of [
    'create temporary view `files texts` as',
    'create temporary view `filter` as',
    "where startswith(id, 'it\\'s')",
    'on conflict (id) do nothing',
    'count_if(_failed is not null) as dead',
  ])
    assert.ok(text.includes(part), `${part}\n\n${text}`)
})

test('pairs are computed once for all that is made of them, and shuffle no column that nothing reads', () => {
  const events = topic('e', {
    columns: { at: timestamp(), who: text(), what: text(), note: text() },
    eventTime: { column: 'at' },
  })
  const plan = pipeline('p')
    .from(events)
    .pairs({
      by: ['who'],
      open: (row) => row.what.equals('open'),
      close: (row) => row.what.equals('close'),
      maxGap: 1000,
      lateness: 1000,
    })
    .also((flow) => flow.into(table('a', { key: 'pair_id' })))
    .into(table('b', { key: 'pair_id' })).plan
  const views = explainSpark(plan).views
  assert.deepEqual(
    views.filter(({ kept }) => kept).map(({ name }) => name),
    ['pairs'],
  )
  const [pairs] = views.filter(({ name }) => name === 'pairs')
  const shuffled = /\n {6}select\n([\s\S]*?)\n {6}from/.exec(pairs?.sql ?? '')?.[1] ?? ''
  assert.match(shuffled, /who,[\s\S]* as _at,[\s\S]* as _hash$/)
  assert.doesNotMatch(shuffled.replace(/unhex\(.*\) as _hash/, ''), /note/, shuffled)
})

test('a stream is cut where state begins, and refused where there is none', () => {
  const events = topic('e', { columns: { at: timestamp(), who: text() }, eventTime: { column: 'at' } })
  const windows = pipeline('p')
    .from(events)
    .filter((row) => row.who.differsFrom(''))
    .window({ size: '1 minute', by: 'who' }, () => ({}))
    .into(table('w', { key: ['who', 'window_start'] })).plan
  const { streaming } = explainSpark(windows)
  assert.deepEqual([streaming.onSpark, streaming.refused], [['validate', 'filter'], undefined])
  assert.match(streaming.why, /window: late rows are kept/)
  const [query, ...others] = streaming.queries
  assert.deepEqual(others, [])
  assert.match(query?.sql ?? '', /when _is_good then 0 else 1 end as _verdict/)
  assert.match(query?.sql ?? '', /_failed is null and coalesce\(\(?who.* as _is_good/)
  const rows = pipeline('p').from(source).into(table('t')).plan
  assert.match(explainSpark(rows).streaming.refused ?? '', /every row goes into Postgres/)
})
