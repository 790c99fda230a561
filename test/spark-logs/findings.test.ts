/** Each finding has a number: here they are computed by hand, of an application that was made up for it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { plainly } from './samples.ts'
import type { Row } from './world.ts'

const begun = 1_700_000_000_000
const at = (ms: number): number => begun + ms

interface MadeTask {
  stage: number
  ms: number
  host: 'a' | 'b'
  fails?: true
  metrics?: Row
}

interface MadeStage {
  id: number
  parents?: number[]
  tasks: MadeTask[]
}

interface MadeJob {
  id: number
  from: number
  to: number
  stages: MadeStage[]
}

const many = (n: number, task: Omit<MadeTask, 'stage'>, stage: number): MadeTask[] =>
  Array.from({ length: n }, () => ({ ...task, stage }))

/** 100 seconds, two hosts with two cores each. */
function linesOf(jobs: MadeJob[]): string[] {
  const events: Row[] = [
    { Event: 'SparkListenerLogStart', 'Spark Version': '4.0.0' },
    { Event: 'SparkListenerApplicationStart', 'App Name': 'made', 'App ID': 'local-1', Timestamp: at(0), User: 'u' },
    ...['a', 'b'].map((host) => ({
      Event: 'SparkListenerExecutorAdded',
      Timestamp: at(0),
      'Executor ID': host,
      'Executor Info': { Host: host, 'Total Cores': 2 },
    })),
  ]
  let id = 0
  for (const job of jobs) {
    const infos = job.stages.map(({ id, parents = [], tasks }) => ({
      'Stage ID': id,
      'Stage Attempt ID': 0,
      'Stage Name': `stage ${id}`,
      'Number of Tasks': tasks.filter(({ fails }) => fails !== true).length,
      'RDD Info': [],
      'Parent IDs': parents,
      Details: '',
    }))
    events.push({
      Event: 'SparkListenerJobStart',
      'Job ID': job.id,
      'Submission Time': at(job.from),
      'Stage Infos': infos,
      'Stage IDs': infos.map((info) => info['Stage ID']),
      Properties: {},
    })
    for (const [i, { tasks }] of job.stages.entries()) {
      let index = 0
      for (const task of tasks) {
        const info = {
          'Task ID': id++,
          Index: index,
          Attempt: 0,
          'Launch Time': at(job.from),
          'Finish Time': at(job.from + task.ms),
          'Executor ID': task.host,
          Host: task.host,
          Locality: 'ANY',
        }
        if (task.fails !== true) index++
        const about = { 'Stage ID': task.stage, 'Stage Attempt ID': 0 }
        events.push(
          { Event: 'SparkListenerTaskStart', ...about, 'Task Info': { ...info, 'Finish Time': 0 } },
          {
            Event: 'SparkListenerTaskEnd',
            ...about,
            'Task Type': 'ResultTask',
            'Task End Reason': task.fails
              ? { Reason: 'ExceptionFailure', 'Class Name': 'X', Description: 'no', 'Full Stack Trace': 'X: no' }
              : { Reason: 'Success' },
            'Task Info': info,
            'Task Metrics': { 'Executor Run Time': task.ms, ...task.metrics },
          },
        )
      }
      const times = { 'Submission Time': at(job.from), 'Completion Time': at(job.to) }
      events.push({ Event: 'SparkListenerStageCompleted', 'Stage Info': { ...infos[i], ...times } })
    }
    events.push({
      Event: 'SparkListenerJobEnd',
      'Job ID': job.id,
      'Completion Time': at(job.to),
      'Job Result': { Result: 'JobSucceeded' },
    })
  }
  events.push({ Event: 'SparkListenerApplicationEnd', Timestamp: at(100_000) })
  return events.map((event) => JSON.stringify(event))
}

const made: MadeJob[] = [
  {
    id: 0,
    from: 10_000,
    to: 30_000,
    stages: [
      {
        id: 0,
        tasks: [
          ...many(6, { ms: 1_000, host: 'a', metrics: { 'JVM GC Time': 250 } }, 0),
          ...many(5, { ms: 4_000, host: 'b', metrics: { 'JVM GC Time': 250 } }, 0),
        ],
      },
      {
        id: 1,
        parents: [0],
        tasks: [
          ...many(
            4,
            {
              ms: 2_000,
              host: 'a',
              metrics: { 'Disk Bytes Spilled': 300, 'Input Metrics': { 'Bytes Read': 1000, 'Records Read': 1 } },
            },
            1,
          ),
          { stage: 1, ms: 6_000, host: 'a', fails: true, metrics: {} },
        ],
      },
    ],
  },
  {
    id: 1,
    from: 40_000,
    to: 54_000,
    stages: [
      { id: 2, tasks: many(1, { ms: 5_000, host: 'a' }, 2) },
      // one after the other: what is longest of each is on the way
      { id: 3, parents: [2], tasks: many(1, { ms: 2_000, host: 'a' }, 3) },
    ],
  },
  { id: 2, from: 54_000, to: 60_000, stages: [{ id: 4, tasks: many(200, { ms: 20, host: 'b' }, 4) }] },
]

/** In milliseconds. */
const ofTasks = { job0: 6 * 1_000 + 5 * 4_000 + 4 * 2_000 + 6_000, job1: 5_000 + 2_000, job2: 200 * 20 }
const all = ofTasks.job0 + ofTasks.job1 + ofTasks.job2

const wanted: [finding: string, about: string, value: number, evidence: Row][] = [
  // against 1 s at the median, 5 tasks of 4 s; those on the other host take what is usual
  ['slow_host', 'b', 4, { tasks: 5, took_ms: 20_000, usual_ms: 5_000 }],
  ['gc', 'stage 0.0', (11 * 250) / 26_000, { gc_ms: 2_750, run_ms: 26_000 }],
  ['spill', 'stage 1.0', 0.3, { disk_bytes: 1_200, tasks: 4 }],
  // 40 s of tasks on 4 cores take 10 s at best, and the longest along the stages 6 s
  ['critical_path', 'job 0', 20 / 10, { critical_path_ms: 6_000, spread_ms: 10_000, ideal_ms: 10_000 }],
  // the longest along the stages take 7 s, and all tasks on 4 cores 1.75 s
  ['critical_path', 'job 1', 14 / 7, { critical_path_ms: 7_000, spread_ms: 1_750, ideal_ms: 7_000 }],
  ['critical_path', 'job 2', 6 / 1, { critical_path_ms: 20, spread_ms: 1_000, ideal_ms: 1_000 }],
  ['retry_waste', '', 6_000 / all, { wasted_ms: 6_000, all_ms: all }],
  ['idle_cores', '', 1 - all / 400_000, { cores: 4, core_ms: 400_000, task_ms: all }],
  // jobs ran from 10 to 30, 40 to 54 and 54 to 60 s
  ['driver_gap', '', (100 - 40) / 100, { duration_ms: 100_000, busy_ms: 40_000, longest_gap_ms: 10_000 }],
  ['task_sizing', 'stage 4.0', 20, { tasks: 200, median_ms: 20 }],
  ['root_cause', 'ExceptionFailure X: no', 1, { first: true, stages: [1], executors: ['a'], hosts: ['a'] }],
  ['skew', 'stage 0.0', 4, { cause: 'host', median_ms: 1_000, longest_ms: 4_000, tasks: 11 }],
]

test('every finding has the number that its formula says', async () => {
  const { spark_findings: findings = [] } = await plainly(linesOf(made), 'local-1')
  const found = new Map(findings.map((row) => [`${row['finding']} ${row['about']}`, row]))
  for (const [finding, about, value, evidence] of wanted) {
    const row = found.get(`${finding} ${about}`)
    assert.ok(row !== undefined, `${finding} ${about} is not among ${[...found.keys()].join('; ')}`)
    assert.ok(Math.abs(Number(row['value']) - value) < 1e-9, `${finding} ${about}: ${row['value']} is not ${value}`)
    assert.partialDeepStrictEqual(row['evidence'], evidence, `${finding} ${about}`)
  }
  // and there is nothing else: success_rate is 216 of 217, above its threshold
  assert.deepEqual([...found.keys()].sort(), wanted.map(([finding, about]) => `${finding} ${about}`).sort())
})

test('what is below its threshold is not found', async () => {
  const [first] = made
  assert.ok(first !== undefined)
  const usual: MadeJob = {
    ...first,
    from: 0,
    to: 90_000,
    stages: [
      {
        id: 0,
        tasks: [
          ...many(90, { ms: 1_800, host: 'a', metrics: { 'JVM GC Time': 100 } }, 0),
          ...many(90, { ms: 1_900, host: 'b', metrics: { 'JVM GC Time': 100 } }, 0),
        ],
      },
    ],
  }
  const { spark_findings: findings = [] } = await plainly(linesOf([usual]), 'local-1')
  assert.deepEqual(findings, [])
})
