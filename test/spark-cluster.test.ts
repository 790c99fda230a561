/** On a cluster, whose executors are processes of their own, all is as it is on a Spark in one process. */
import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { after, test } from 'node:test'
import { startMillrace } from './crash/process.ts'
import { testDatabase } from './postgres.ts'
import { noCluster, TestCluster } from './spark/cluster.ts'
import { eventLogIn, lostTasksIn } from './spark/event-log.ts'
import {
  compared,
  flyersBeside,
  type SystemBeside,
  shopEventsBeside,
  telemetraBeside,
  userActivityBeside,
} from './spark/systems.ts'

await using resources = new AsyncDisposableStack()
const log = resources.use(await mkdtempDisposable(`${tmpdir()}/millrace-cluster-log-`)).path
const cluster =
  noCluster === false
    ? resources.use(
        await TestCluster.start({
          ...eventLogIn(log),
          // small files are cut, too, so that both executors have a part of each
          'spark.sql.files.maxPartitionBytes': '128k',
          'spark.connect.progress.reportInterval': '50ms',
        }),
      )
    : undefined
const kept = resources.move()
after(() => kept.disposeAsync())
const onCluster = { skip: noCluster, timeout: 15 * 60_000 }
const remote = cluster?.remote ?? ''

test('doctor finds nothing wrong with it', onCluster, async () => {
  await using folder = await mkdtempDisposable(`${tmpdir()}/millrace-doctor-`)
  await using database = await testDatabase()
  const doctor = startMillrace(['doctor', '--json'], folder.path, {
    MILLRACE_DATA: folder.path,
    SPARK_REMOTE: remote,
    DATABASE_URL: database.url,
  })
  await using _ = doctor
  await doctor.ended(120_000)
  const findings: { name: string; is: string; code?: string; says: string }[] = doctor.out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  const ofSpark = findings.filter(({ name }) => name === 'spark')
  assert.deepEqual(
    ofSpark.filter(({ is }) => is === 'ok').map(({ says }) => says.replace(/[\d.]+/, 'N')),
    ['version N answers', 'it reaches the database'],
  )
  // it has no connector, and needs none for files
  assert.deepEqual(
    ofSpark.flatMap(({ code }) => (code === undefined ? [] : [code])),
    ['SPARK_NO_KAFKA'],
  )
})

const systems: SystemBeside[] = [shopEventsBeside, userActivityBeside, telemetraBeside]
for (const beside of systems) {
  test(`${beside.system.name} gives the tables, letters and books of a run here`, onCluster, async () => {
    await using _ = await compared(beside, remote)
  })
}

test('flyers gives the same though executors are killed while it counts, pairs and writes', onCluster, async () => {
  assert.ok(cluster)
  const before = await cluster.whole()
  const killIn = ['counting rows in', 'writing flyer_sessions', 'writing merchant_flyer_daily']
  const killed = new Map<string, number>()
  await using _ = await compared(flyersBeside, remote, {
    onProgress: (step, progress) => {
      const during = killIn.find((name) => step.startsWith(name))
      if (during === undefined || killed.has(during) || progress === undefined) return
      // some of it is done, and some is not
      if (progress.tasksDone === 0 || progress.tasksDone === progress.tasks) return
      killed.set(during, cluster.killExecutor())
    },
  })
  assert.deepEqual([...killed.keys()], killIn)
  const now = await cluster.whole()
  assert.deepEqual(
    before.filter((pid) => now.includes(pid)),
    [],
  )
  assert.ok((await lostTasksIn(log)) > 0, 'tasks were done again')
})
