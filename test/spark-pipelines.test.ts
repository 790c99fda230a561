/** Every system that runs on Spark gives the tables, dead letters and books there that it gives here. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, test } from 'node:test'
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

    const again = await world.onSpark(inputs).catch((error: unknown) => String(error))
    assert.match(String(again), /it has run before/, 'over what has been counted it does not count')

    const parquet = join(world.folder, 'parquet')
    const written = await world.asParquet(inputs, parquet)
    assert.deepEqual(written.books, here)
    assert.equal(written.rowsOut['table-2'], (await world.sql('select * from flyer_time_per_user')).length)
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
