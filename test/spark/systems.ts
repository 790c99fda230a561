/**
 * The systems that run on Spark, each with files that hold what is hard for it, and with what is to be the same when it has
 * run there and here: tables, dead letters and books.
 */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { generate as generateFlyers } from '../../pipelines/flyers/generate.ts'
import { flyers } from '../../pipelines/flyers/pipeline.ts'
import { sampleRequest } from '../../pipelines/sample-request.ts'
import { shopEvents } from '../../pipelines/shop-events/pipeline.ts'
import { generate as generateTelemetra } from '../../pipelines/telemetra/generate.ts'
import { telemetra } from '../../pipelines/telemetra/pipeline.ts'
import { userActivity } from '../../pipelines/user-activity/pipeline.ts'
import type { SparkOutcome, SparkRun } from '../../src/spark/run.ts'
import type { Verdicts } from '../../src/store/store.ts'
import type { System } from '../../src/system.ts'
import { openSparkWorld, type SparkWorld } from './world.ts'

export interface SystemBeside {
  system: System
  settings?: Record<string, string>
  /** Writes the files, and answers what is named to the run on Spark. */
  inputs(world: SparkWorld): Promise<string[]>
  /** Where the run here reads topics, which have been filled with the same messages. */
  readsTopics?: true
  /** What both databases are asked, and how many rows there are at least. */
  same: { select: string; least: number }[]
  letters: string
  /** How many letters there are at least. */
  leastDead: number
}

export interface Compared extends AsyncDisposable {
  world: SparkWorld
  inputs: string[]
  here: Verdicts
  there: SparkOutcome
}

/** Runs it here and there; what is not the same fails. */
export async function compared(
  { system, settings, inputs, readsTopics, same, letters, leastDead }: SystemBeside,
  remote: string,
  options: Partial<SparkRun> = {},
): Promise<Compared> {
  await using stack = new AsyncDisposableStack()
  const world = stack.use(await openSparkWorld(system, remote, settings))
  const files = await inputs(world)
  const here = await world.here(readsTopics === undefined ? files : undefined)
  const there = await world.onSpark(files, options)
  for (const { select, least } of [...same, { select: letters, least: leastDead }]) {
    const found = await world.both(select)
    assert.ok(found.here.length >= least, `${found.here.length} rows of ${select}`)
    assert.deepEqual(found.onSpark, found.here, select)
  }
  assert.deepEqual(there.books, here)
  const [dead] = await world.sql('select count(*)::int as n from millrace.dead_letters')
  assert.deepEqual(dead, { n: here.dead })
  const kept = stack.move()
  return { world, inputs: files, here, there, [Symbol.asyncDispose]: () => kept.disposeAsync() }
}

// Of bytes that are no text, ours writes out each; Spark's has a mark in their place. The bytes are the same. And it does
// not say at which byte JSON breaks.
const letters = `
  select source, place, stage, code, column_name, regexp_replace(message, ' \\(at byte \\d+\\)$', '') as message, encode(raw_bytes, 'hex') as bytes, fields,
         case when code <> 'INVALID_UTF8' then raw end as raw
  from   millrace.dead_letters
  order by place, coalesce(encode(raw_bytes, 'hex'), raw) collate "C", code`

export const flyersBeside: SystemBeside = {
  system: flyers,
  settings: { FLYERS_SESSIONS: 'table' },
  async inputs(world) {
    const generated = join(world.folder, 'made.jsonl')
    await generateFlyers(
      sampleRequest({
        count: 3000,
        durationSeconds: 90_000,
        seed: 7,
        badPercent: 3,
        duplicatePercent: 3,
        to: generated,
      }),
    )
    const lines = (await readFile(generated, 'utf8')).trimEnd().split('\n')
    const event = (minute: number, what: string, more: Record<string, unknown> = {}): string =>
      JSON.stringify({
        timestamp: `2026-01-01T00:${String(minute).padStart(2, '0')}:00Z`,
        user_id: 'tie',
        event: `flyer_${what}`,
        flyer_id: 'f',
        merchant_id: 'm',
        ...more,
      })
    const ties = [
      ...[
        event(1, 'open'),
        event(1, 'close'),
        event(2, 'close'),
        event(3, 'open'),
        event(5, 'close'),
        event(5, 'open'),
      ],
      ...[
        event(5, 'open', { merchant_id: 'n' }),
        event(9, 'close'),
        event(9, 'open'),
        event(9, 'close', { merchant_id: 'n' }),
      ],
      ...[
        event(20, 'open', { user_id: 'Ünïcode "q" \\ \u2028' }),
        event(21, 'close', { user_id: 'Ünïcode "q" \\ \u2028' }),
      ],
      event(30, 'open', { timestamp: '2026-01-01T02:30:00.123456+02:00', user_id: 'long' }),
      event(31, 'close', { timestamp: '2026-01-03 00:31', user_id: 'long' }),
    ]
    const bad = [
      ...[
        '{"timestamp": "2026-01-01T00:00:00Z"',
        'null',
        '[1]',
        '{} {}',
        '{"a":1}',
        '',
        '   ',
        '{"user_id":"a","user_id":"b"}',
      ],
      ...[
        event(1, 'open', { flyer_id: '' }),
        event(1, 'open', { flyer_id: null }),
        event(1, 'open', { user_id: { a: 1 } }),
      ],
      ...[
        event(1, 'open', { timestamp: '2026-02-30T00:00:00Z' }),
        event(1, 'open', { timestamp: '2026-01-01T24:00:00Z' }),
      ],
      ...[event(1, 'open', { timestamp: 'soon' }), event(1, 'open', { user_id: '{not json' }), "{'user_id':'a'}"],
    ]
    return [await world.file('events of a day+1.jsonl', `${[...lines, ...ties, ...bad].join('\n')}\n`)]
  },
  same: [
    {
      select: `select pair_id, user_id, flyer_id, merchant_id, opened_at, closed_at, outcome, seconds
        from flyer_sessions order by pair_id`,
      least: 1200,
    },
    { select: 'select * from flyer_time_per_user order by user_id', least: 20 },
    { select: 'select * from merchant_flyer_daily order by merchant_id, flyer_id, day', least: 50 },
  ],
  letters,
  leastDead: 60,
}

export const shopEventsBeside: SystemBeside = {
  system: shopEvents,
  async inputs(world) {
    const header = 'event_id,user_id,event_type,product_id,price,event_timestamp'
    const good = Array.from({ length: 500 }, (_, i) =>
      [
        `e${i % 450}`,
        `u${i % 7}`,
        ['view', 'add_to_cart', 'purchase'][(i % 450) % 3],
        `p${(i % 450) % 11}`,
        `${(i % 450) / 4}`,
        `2026-01-01T00:00:${String((i % 450) % 60).padStart(2, '0')}Z`,
      ].join(','),
    ).map((line, i) => (i < 450 ? line : line.replace(/u\d/, `u${(i - 450) % 7}`)))
    const bad = [
      ...[
        'a,b',
        'a,b,view,p,1,2026-01-01,more',
        'q1,u,"view"x,p,1,2026-01-01T00:00:00Z',
        'q2,u,view,p,-1,2026-01-01T00:00:00Z',
      ],
      ...[
        'q3,u,view,p,1.234,2026-01-01T00:00:00Z',
        'q4,u,view,p,1e3,2026-01-01T00:00:00Z',
        'q5,u,view,p,99999999999,2026-01-01T00:00:00Z',
      ],
      ...[
        'q6,u,look,p,1,2026-01-01T00:00:00Z',
        ',u,view,p,1,2026-01-01T00:00:00Z',
        'q7,u,view,p,,2026-01-01T00:00:00Z',
        'q8,u,view,p,1,',
      ],
      ...['q9,u,view,p,1,2026-13-01T00:00:00Z', header, 'nul\0,u,view,p,1,2026-01-01T00:00:00Z'],
    ]
    const quoted = [
      '"x1","a ""quoted"" name",view,"p,1",1.50,2026-01-01T00:00:00+05:30',
      'x2,u,view,"",2,2026-01-01 00:00:00',
      'x3,sp ace,view,p",3,2026-01-01T00:00:00.123456Z',
    ]
    const latin = Buffer.concat([
      Buffer.from('l1,u'),
      Buffer.from([0xe9]),
      Buffer.from(',view,p,1,2026-01-01T00:00:00Z\n'),
    ])
    return [
      await world.file('a.csv', Buffer.concat([Buffer.from(`${[header, ...good, '', ...bad].join('\n')}\n`), latin])),
      await world.file('b.csv', `${[header, ...quoted].join('\r\n')}\r\n`),
      await world.file(
        'c.csv',
        'price,event_id,event_timestamp,product_id,event_type,user_id\n7.25,c1,2026-01-02T00:00:00Z,p,view,u\n',
      ),
      await world.file('d.csv', 'event_id,usr_id\n1,2\n'),
      await world.file('e.csv', `${header}\nopen,"u,view,p,1,2026-01-01T00:00:00Z\nz1,u,view,p,1,2026-01-01T00:00:00Z`),
    ]
  },
  same: [
    {
      select: `select event_id, user_id, event_type, product_id, price, event_timestamp
        from user_events order by event_id collate "C"`,
      least: 454,
    },
    { select: 'select path, state, code, message from millrace.files order by path', least: 5 },
  ],
  letters,
  leastDead: 10,
}

export const userActivityBeside: SystemBeside = {
  system: userActivity,
  async inputs(world) {
    const header = 'event_id,user_id,event_type,product_id,product_name,category,price,quantity,event_time'
    const rows = Array.from({ length: 300 }, (_, i) => {
      const buys = i % 3 === 0
      return `e${i},u${i % 9},${buys ? 'purchase' : 'view'},p${i % 5},"Name, ${i}",c,${i}.5,${buys ? 1 + (i % 4) : i % 2 === 0 ? '0' : ''},2026-01-01T00:00:00.${i}Z`
    })
    const bad = [
      'q1,u,purchase,p,n,c,1,0,2026-01-01T00:00:00Z',
      'q2,u,purchase,p,n,c,1,,2026-01-01T00:00:00Z',
      'q3,u,view,p,n,c,1,2,2026-01-01T00:00:00Z',
      'q4,u,view,p,n,c,1,two,2026-01-01T00:00:00Z',
      'q5,u,view,p,n,c,1,99999999999999999999,2026-01-01T00:00:00Z',
      'q6,u,view,p,n,c,-5,,2026-01-01T00:00:00Z',
    ]
    return [await world.file('a.csv', `${[header, ...rows, ...bad, rows[0]].join('\n')}\n`)]
  },
  same: [
    {
      select: `select event_id, user_id, event_type, product_id, product_name, category, price, quantity, event_time,
          source_file, batch
        from user_activity order by event_id collate "C"`,
      least: 300,
    },
  ],
  letters,
  leastDead: 6,
}

export const telemetraBeside: SystemBeside = {
  system: telemetra,
  readsTopics: true,
  async inputs(world) {
    const sent = new Map<string, string[]>()
    await generateTelemetra(
      sampleRequest({
        seed: 11,
        count: 4000,
        durationSeconds: 900,
        startTime: new Date('2026-01-01T00:00:00Z'),
        badPercent: 2,
        duplicatePercent: 1,
        topic: (topic) => ({
          async append(messages) {
            const values = messages.map(({ value }) =>
              typeof value === 'string' ? value : Buffer.from(value ?? '').toString(),
            )
            sent.set(topic, [
              ...(sent.get(topic) ?? []),
              ...values.filter((value) => !value.includes('\n') && value.trim() !== ''),
            ])
          },
        }),
      }),
    )
    const inputs: string[] = []
    for (const [topic, values] of sent) {
      await world.append(topic, values)
      inputs.push(`${topic}=${await world.file(`${topic}.jsonl`, `${values.join('\n')}\n`)}`)
    }
    return inputs
  },
  same: [
    {
      select: `select * from (select to_jsonb(s) - 'updated_at' as row, stream_id, window_start from chat_summary_minute s where final) s
        order by stream_id, window_start`,
      least: 200,
    },
    {
      select: `select to_jsonb(m) - 'id' - 'detected_at' as row from moments m order by stream_id, window_start, moment_type`,
      least: 1,
    },
  ],
  // a message has its place in a topic here, and in a file there
  letters: `
    select source, stage, code, column_name, regexp_replace(message, ' \\(at byte \\d+\\)$', '') as message, raw, fields
    from   millrace.dead_letters order by source, raw collate "C", code`,
  leastDead: 1,
}
