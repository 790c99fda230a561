/** Every system that runs on Spark gives the tables, dead letters and books there that it gives here. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Duck } from '../src/engine/duckdb.ts'
import { boolean, decimal, double, files, integer, pipeline, table, text, timestamp } from '../src/index.ts'
import { SparkSession } from '../src/spark/connect.ts'
import type { System } from '../src/system.ts'
import { noSpark, TestSpark } from './spark/server.ts'
import { compared, flyersBeside, shopEventsBeside, telemetraBeside, userActivityBeside } from './spark/systems.ts'

const server = noSpark === false ? await TestSpark.start() : undefined
after(() => server?.[Symbol.asyncDispose]())
const onSpark = { skip: noSpark, timeout: 15 * 60_000 }
const remote = server?.remote ?? ''

test(
  'flyers gives the same sessions, times and letters, of events in any order, repeated and at one instant',
  onSpark,
  async () => {
    await using flyers = await compared(flyersBeside, remote)
    const { world, inputs, here } = flyers
    assert.ok(here.dead > 60 && here.duplicates > 30 && here.filtered > 50, JSON.stringify(here))
    const [line] = await world.sql(
      `select kind, rows_in = written + filtered + duplicates + late + dead as balances from millrace.batches`,
    )
    assert.deepEqual(line, { kind: 'spark', balances: true })

    const again = await world.onSpark(inputs)
    assert.deepEqual([again.files, again.books.rowsIn], [0, 0], 'the same command again finds nothing to do')
    const more = await world.file('more.jsonl', '{}\n')
    const other = await world.onSpark([...inputs, more]).catch((error: unknown) => String(error))
    assert.match(String(other), /it has run before/, 'over what has been counted it does not count')

    const parquet = join(world.folder, 'parquet')
    const written = await world.asParquet(inputs, parquet)
    assert.deepEqual(written.books, here)
    assert.equal(written.rowsOut['table-2'], (await world.sql('select * from flyer_time_per_user')).length)

    const letters = async (): Promise<number> => {
      await using session = await SparkSession.open({ remote })
      const [row] = await session.rows<{ n: bigint }>(`select count(*) as n from parquet.\`${parquet}/dead_letters\``)
      return Number(row?.n)
    }
    assert.equal(await letters(), here.dead)
    const event = { timestamp: '2026-01-01T00:00:00Z', user_id: 'u', event: 'view' }
    await world.asParquet([await world.file('clean.jsonl', `${JSON.stringify(event)}\n`)], parquet)
    assert.equal(await letters(), 0, 'a run without letters leaves none of the run before')
  },
)

test('shop-events gives the same rows once each, and the same letters of what is no event', onSpark, async () => {
  await using shop = await compared(shopEventsBeside, remote)
  const { world, inputs, here, there } = shop
  assert.equal(there.filesQuarantined, 1)
  assert.equal(here.duplicates, 50)

  const more = await world.file(
    'f.csv',
    [
      'event_id,user_id,event_type,product_id,price,event_timestamp',
      'e0,u0,view,p0,0,2026-01-01T00:00:00Z',
      'new,u,view,p,1,2026-01-01T00:00:00Z\n',
    ].join('\n'),
  )
  const second = await world.onSpark([...inputs, more])
  assert.deepEqual(
    { files: second.files, written: second.books.written, duplicates: second.books.duplicates },
    { files: 1, written: 1, duplicates: 1 },
    'files that were read are not read again, and keys of earlier runs are known',
  )
  const third = await world.onSpark([...inputs, more])
  assert.deepEqual([third.files, third.books.rowsIn], [0, 0])
})

test('user-activity gives the same rows and the same view of what was wrong', onSpark, async () => {
  await using _ = await compared(userActivityBeside, remote)
})

test('telemetra gives the same windows and moments', onSpark, async () => {
  await using _ = await compared(telemetraBeside, remote)
})

const measures: System = {
  name: 'measures',
  says: 'Measures of every type',
  settings: {},
  plan: () =>
    pipeline('measures')
      .from(
        files('measures/raw', {
          format: 'parquet',
          columns: {
            id: integer(),
            at: timestamp(),
            price: decimal(12, 2).atLeast(0),
            sure: boolean().optional(),
            share: double().optional(),
            name: text().notEmpty(),
          },
        }),
      )
      .into(table('measured', { oncePer: 'id' })).plan,
}

// Typed as the plan has them, and as it has none of them: as texts, and numbers of other kinds.
const measured = {
  'typed.parquet': `select i::bigint as id,
  case i when 1 then null when 2 then '10000-01-01 00:00:00+00' when 3 then '0044-03-15 (BC) 00:00:00+00' when 4 then '0001-01-01 00:00:00+00'
    when 5 then '9999-12-31 23:59:59.999999+00' else '2026-01-01 00:00:00.000001+00' end::timestamptz as at,
  case i when 6 then -0.01 when 7 then null else i + 0.5 end::decimal(12,2) as price,
  case i % 3 when 0 then true when 1 then false end as sure,
  case i when 8 then 'nan' when 9 then '-infinity' else (i / 3)::varchar end::double as share,
  case i when 10 then '' when 11 then null when 12 then 'a' || chr(0) else 'n' || i end as name
from range(300) r(i)`,
  'texts.parquet': `select (1000 + i)::varchar as id, case i when 1 then 'soon' else '2026-01-01T00:00:00Z' end as at, i::integer as price,
  case i when 2 then 'maybe' else 'true' end as sure, i::float as share, 'n' || i as name
from range(30) r(i)`,
}

for (const [file, select] of Object.entries(measured))
  test(`Parquet gives the same rows and reasons, of ${file}`, onSpark, async () => {
    await using beside = await compared(
      {
        system: measures,
        async inputs({ folder }) {
          const options = { folders: [folder], temporary: join(folder, 'writing'), memoryLimitMb: 128, threads: 1 }
          await using duck = await Duck.open(options)
          using session = await duck.connect()
          const path = join(folder, file)
          await session.run(`copy (${select}) to '${path}' (format parquet)`)
          return [path]
        },
        same: [{ select: 'select * from measured order by id', least: 25 }],
        // how a value reads that is no time or number, is each engine's own
        letters: 'select stage, code, column_name from millrace.dead_letters order by 2, 3',
        leastDead: 2,
      },
      remote,
    )
    assert.equal(beside.there.filesQuarantined, 0)
  })
