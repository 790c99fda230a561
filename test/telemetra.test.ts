/**
 * Every line of what telemetra promises, in the order of its specification: as long as that. Numbers are held against a
 * computation over all messages at once.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { sampleRequest } from '../pipelines/sample-request.ts'
import { generate } from '../pipelines/telemetra/generate.ts'
import { telemetra } from '../pipelines/telemetra/pipeline.ts'
import { readWords } from '../pipelines/telemetra/settings.ts'
import {
  byBytes,
  type Chat,
  emotesOf,
  moments,
  type Rules,
  type Summary,
  summaries,
  timeOf,
  usualRules,
  type Viewers,
} from './telemetra/expected.ts'
import { openWorld, type Row, type Value, type World } from './telemetra/world.ts'

const { lexicon, emotes } = readWords({})
const words = { ...lexicon, emotes }
const noon = Date.parse('2026-01-01T12:00:00Z')

function at(seconds: number): string {
  return new Date(noon + seconds * 1000).toISOString()
}

let users = 0
function chat(seconds: number, more: Partial<Chat> = {}): Chat {
  return { stream_id: 's', user_id: `u${++users}`, message: 'hello', timestamp: at(seconds), ...more }
}

function viewers(seconds: number, viewer_count: number, more: Partial<Viewers> = {}): Viewers {
  return { stream_id: 's', viewer_count, timestamp: at(seconds), ...more }
}

const json = (events: readonly (Chat | Viewers)[]): Value[] => events.map((event) => JSON.stringify(event))

/** The rows of closed windows, in the order of the computation. */
async function closedRows(world: World): Promise<Row[]> {
  return await world.sql(`select * from chat_summary_minute where final order by stream_id collate "C", window_start`)
}

/** The table says what one computation over all messages says. */
async function holds(world: World, said: Chat[], seen: Viewers[], rules: Rules = usualRules): Promise<Summary[]> {
  const expected = summaries(said, seen, words, rules)
  const found = await closedRows(world)
  assert.equal(found.length, expected.length, 'as many windows')
  for (const [i, row] of expected.entries()) same(found[i], row)
  return expected
}

async function momentsHold(world: World, closed: Summary[], rules: Rules = usualRules): Promise<string[]> {
  const order = (a: Row, b: Row): number => (key(a) < key(b) ? -1 : 1)
  const key = ({ stream_id, window_start, moment_type }: Row) =>
    `${stream_id} ${window_start instanceof Date ? window_start.toISOString() : ''} ${moment_type}`
  const expected = moments(closed, rules)
    .map((moment): Row => ({ ...moment }))
    .sort(order)
  const found = (await world.sql('select * from moments')).sort(order)
  assert.deepEqual(found.map(key), expected.map(key))
  for (const [i, moment] of expected.entries()) same(found[i], moment)
  return found.map(({ moment_type }) => String(moment_type))
}

// bigints come as texts; fractions may differ in what is rounded away
function same(found: Row | undefined, expected: object): void {
  for (const [name, value] of Object.entries(expected)) {
    const own = found?.[name]
    const at = `${name} of ${JSON.stringify(found)}`
    if (typeof value === 'number')
      assert.ok(own !== null && Math.abs(Number(own) - value) < 2e-9, `${at} is not ${value}`)
    else assert.deepEqual(own, value, at)
  }
}

/** The messages the generator makes, as they were appended, and what of them is good. */
async function sample(options: Parameters<typeof sampleRequest>[0]) {
  const made = { chat: [] as Value[], viewers: [] as Value[] }
  const summary = await generate(
    sampleRequest({
      ...options,
      topic: (name) => ({
        append: async (messages) => {
          const values = name.endsWith('chat') ? made.chat : made.viewers
          for (const { value } of messages) values.push(value)
        },
      }),
    }),
  )
  return { ...made, summary }
}

const parsed = <T>(values: Value[]): T[] => values.map((value) => JSON.parse(String(value)))

describe('windows', () => {
  test('a message is in the six windows of a minute, ten seconds apart, that hold its time, half-open', async () => {
    await using world = await openWorld()
    const said = [chat(5), chat(10, { stream_id: 'edge' }), chat(9.999, { stream_id: 'before' })]
    await world.chat(...json(said))
    await world.run({ final: true })
    await holds(world, said, [])
    const starts = await world.sql(
      `select stream_id, min(window_start) as first, max(window_start) as last, count(*)::int as n
       from chat_summary_minute group by 1 order by 1`,
    )
    assert.deepEqual(starts, [
      { stream_id: 'before', first: new Date(at(-50)), last: new Date(at(0)), n: 6 },
      { stream_id: 'edge', first: new Date(at(-40)), last: new Date(at(10)), n: 6 },
      { stream_id: 's', first: new Date(at(-50)), last: new Date(at(0)), n: 6 },
    ])
  })

  test('every column of every window is what one computation over all messages says', async () => {
    await using world = await openWorld()
    const made = await sample({ count: 6_000, durationSeconds: 900, options: { streams: '3' } })
    await world.append('telemetra.events.chat', made.chat)
    await world.append('telemetra.events.viewer', made.viewers)
    const { books } = await world.run({ final: true })
    assert.partialDeepStrictEqual(books, { rowsIn: 6_000, written: 6_000, late: 0, dead: 0 })
    const closed = await holds(world, parsed<Chat>(made.chat), parsed<Viewers>(made.viewers))
    assert.ok(closed.length > 250, `${closed.length} windows`)
    const types = new Set(await momentsHold(world, closed))
    assert.ok(types.has('chat_spike') && types.has('emote_spike'), [...types].join())
  })

  test('the tables have the columns of the contract, in its order', async () => {
    await using world = await openWorld()
    const columnsOf = async (table: string) =>
      (
        await world.sql(
          `select column_name || ' ' || udt_name as is from information_schema.columns where table_name = $1 order by ordinal_position`,
          [table],
        )
      ).map((row) => row['is'])
    assert.deepEqual(await columnsOf('chat_summary_minute'), [
      'stream_id text',
      'window_start timestamptz',
      'window_end timestamptz',
      'chat_count int8',
      'unique_chatters int8',
      'avg_sentiment float8',
      'positive_count int8',
      'negative_count int8',
      'top_emotes _text',
      'emote_counts jsonb',
      'chat_rate float8',
      'avg_viewers float8',
      'peak_viewers int8',
      'final bool',
      'updated_at timestamptz',
    ])
    assert.deepEqual(await columnsOf('moments'), [
      'id int8',
      'moment_type text',
      'stream_id text',
      'window_start timestamptz',
      'value float8',
      'mean float8',
      'deviation float8',
      'z_score float8',
      'detected_at timestamptz',
      'details jsonb',
    ])
    const keys = await world.sql(
      `select conrelid::regclass::text as table, pg_get_constraintdef(oid) as key from pg_constraint
       where conrelid in ('moments'::regclass, 'chat_summary_minute'::regclass) and contype in ('p', 'u') order by 1, 2`,
    )
    assert.deepEqual(keys, [
      { table: 'chat_summary_minute', key: 'PRIMARY KEY (stream_id, window_start)' },
      { table: 'moments', key: 'PRIMARY KEY (id)' },
      { table: 'moments', key: 'UNIQUE (stream_id, window_start, moment_type)' },
    ])
  })

  test('a window with viewers alone has counts of 0 and no sentiment, one with chat alone no viewers, and one with neither is none', async () => {
    await using world = await openWorld({ WINDOW_DURATION: '10 seconds' })
    const said = [chat(1), chat(31)]
    const seen = [viewers(11, 7), viewers(12, 10), viewers(32, 0)]
    await world.chat(...json(said))
    await world.viewers(...json(seen))
    await world.run({ final: true })
    await holds(world, said, seen, { ...usualRules, sizeMs: 10_000 })
    const rows = await world.sql(
      `select extract(epoch from window_start - $1)::int as at, chat_count::int, unique_chatters::int, avg_sentiment,
              positive_count::int, negative_count::int, top_emotes, emote_counts, chat_rate, avg_viewers, peak_viewers::int
       from chat_summary_minute order by 1`,
      [at(0)],
    )
    const silent = { avg_sentiment: null, positive_count: 0, negative_count: 0, top_emotes: [], emote_counts: {} }
    assert.deepEqual(rows, [
      {
        at: 0,
        chat_count: 1,
        unique_chatters: 1,
        ...silent,
        avg_sentiment: 0,
        chat_rate: 0.1,
        avg_viewers: null,
        peak_viewers: null,
      },
      { at: 10, chat_count: 0, unique_chatters: 0, ...silent, chat_rate: 0, avg_viewers: 8.5, peak_viewers: 10 },
      {
        at: 30,
        chat_count: 1,
        unique_chatters: 1,
        ...silent,
        avg_sentiment: 0,
        chat_rate: 0.1,
        avg_viewers: 0,
        peak_viewers: 0,
      },
    ])
  })

  test('chatters are counted exactly, however many there are and however often each writes', async () => {
    await using world = await openWorld({ WINDOW_DURATION: '10 seconds' })
    const said = Array.from({ length: 9_000 }, (_, i) => chat((i % 90) / 10, { user_id: `u${i % 3_001}` }))
    await world.chat(...json(said))
    await world.run({ final: true })
    await holds(world, said, [], { ...usualRules, sizeMs: 10_000 })
    assert.deepEqual(await world.sql('select unique_chatters::int as n from chat_summary_minute'), [{ n: 3_001 }])
  })
})

describe('emotes', () => {
  const one = { WINDOW_DURATION: '10 seconds' }
  const rules = { ...usualRules, sizeMs: 10_000 }

  test('each occurrence counts, also within one message; of those used alike the first in binary order stand first', async () => {
    await using world = await openWorld(one)
    // by UTF-16 the smile would stand before the full-width tilde
    const said = [
      chat(1, { emotes: ['b', 'b', 'a', '😀', '～', 'Z', 'é'] }),
      chat(2, { emotes: ['a', 'é', 'Z', '～', '😀', 'once'] }),
    ]
    await world.chat(...json(said))
    await world.run({ final: true, settings: { TOP_EMOTES: '6' } })
    await holds(world, said, [], { ...rules, topEmotes: 6 })
    const [row] = await world.sql('select top_emotes, emote_counts from chat_summary_minute')
    assert.deepEqual(row, {
      top_emotes: ['Z', 'a', 'b', 'é', '～', '😀'],
      emote_counts: { Z: 2, a: 2, b: 2, once: 1, é: 2, '～': 2, '😀': 2 },
    })
  })

  test('five are told, and TOP_EMOTES says how many else', async () => {
    for (const [settings, topEmotes] of [
      [{}, 5],
      [{ TOP_EMOTES: '2' }, 2],
    ] as const) {
      await using world = await openWorld({ ...one, ...settings })
      const said = [chat(1, { emotes: ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'g'] })]
      await world.chat(...json(said))
      await world.run({ final: true })
      await holds(world, said, [], { ...rules, topEmotes })
      const [row] = await world.sql(
        'select cardinality(top_emotes) as n, top_emotes[1] as first from chat_summary_minute',
      )
      assert.deepEqual(row, { n: topEmotes, first: 'g' })
    }
  })

  test('an empty list means none; without a list, words of the message that are emotes count', async () => {
    await using world = await openWorld(one)
    const message = 'Kappa kappa Kappa KEKW! LUL'
    const said = [
      chat(1, { stream_id: 'empty', message, emotes: [] }),
      chat(1, { stream_id: 'absent', message }),
      chat(1, { stream_id: 'given', message, emotes: ['Mine'] }),
    ]
    await world.chat(...json(said), { ...chat(1, { stream_id: 'null', message }), emotes: null })
    await world.run({ final: true })
    assert.deepEqual(await world.sql('select stream_id, emote_counts from chat_summary_minute order by 1'), [
      { stream_id: 'absent', emote_counts: { Kappa: 2, LUL: 1 } },
      { stream_id: 'empty', emote_counts: {} },
      { stream_id: 'given', emote_counts: { Mine: 1 } },
      { stream_id: 'null', emote_counts: { Kappa: 2, LUL: 1 } },
    ])
  })

  test('EMOTE_LIST is a file of your own', async () => {
    await using world = await openWorld(one)
    await world.chat(chat(1, { message: 'Kappa Mine Mine' }))
    await world.run({ final: true, settings: { EMOTE_LIST: await world.file('emotes.json', '["Mine"]') } })
    assert.deepEqual(await world.sql('select emote_counts from chat_summary_minute'), [{ emote_counts: { Mine: 2 } }])
  })
})

describe('sentiment', () => {
  test('the lexicon has 20 words and more of each kind, in lower case, none in both and none twice', () => {
    const { positive, negative } = lexicon
    for (const list of [positive, negative]) {
      assert.ok(list.length >= 20, `${list.length} words`)
      assert.deepEqual(
        list.filter((word) => word !== word.toLowerCase() || /\s/.test(word)),
        [],
      )
    }
    assert.equal(new Set([...positive, ...negative]).size, positive.length + negative.length)
  })

  test('good words less bad ones, by how many there are: word by word, in any case, 0 with no hit', async () => {
    await using world = await openWorld({ WINDOW_DURATION: '10 seconds' })
    const cases: [message: string, mood: number][] = [
      ['good', 1],
      ['BAD', -1],
      ['Good, gOOd: bad!', 1 / 3],
      ['good bad', 0],
      ['nothing to say', 0],
      ['', 0],
      ['goodness badly unwin', 0],
      ['gg\nWIN\tlag', 1 / 3],
      ['good😀good', 1],
      ['«love»…hate?', 0],
    ]
    await world.chat(...cases.map(([message], i) => ({ ...chat(1, { stream_id: `${i}`, message }) })))
    await world.run({ final: true })
    const rows = await world.sql(
      `select avg_sentiment, positive_count::int as good, negative_count::int as bad
       from chat_summary_minute order by stream_id::int`,
    )
    for (const [i, [message, mood]] of cases.entries()) {
      const { avg_sentiment, good, bad } = rows[i] ?? {}
      assert.ok(
        Math.abs(Number(avg_sentiment) - mood) < 2e-9,
        `${JSON.stringify(message)} is ${avg_sentiment}, not ${mood}`,
      )
      assert.deepEqual([good, bad], [mood > 0 ? 1 : 0, mood < 0 ? 1 : 0], message)
    }
  })

  test('a window has the mean over its messages', async () => {
    await using world = await openWorld({ WINDOW_DURATION: '10 seconds' })
    const said = ['good', 'good good bad', 'bad', 'hello'].map((message) => chat(1, { message }))
    await world.chat(...json(said))
    await world.run({ final: true })
    await holds(world, said, [], { ...usualRules, sizeMs: 10_000 })
    const [row] = await world.sql('select round(avg_sentiment::numeric, 6)::float8 as mood from chat_summary_minute')
    assert.deepEqual(row, { mood: 0.083333 })
  })

  test('SENTIMENT_LEXICON is a file of your own, in any case', async () => {
    await using world = await openWorld({ WINDOW_DURATION: '10 seconds' })
    await world.chat(
      chat(1, { stream_id: 'a', message: 'smashing' }),
      chat(1, { stream_id: 'b', message: 'good Beastly' }),
    )
    const own = await world.file('words.json', '{"positive":["Smashing"],"negative":["beastly"]}')
    await world.run({ final: true, settings: { SENTIMENT_LEXICON: own } })
    assert.deepEqual(await world.sql('select avg_sentiment from chat_summary_minute order by stream_id'), [
      { avg_sentiment: 1 },
      { avg_sentiment: -1 },
    ])
  })

  test('a lexicon or a list of emotes that cannot be used is an error that says which and why', async () => {
    await using world = await openWorld()
    const cases: [setting: string, content: string | undefined, says: RegExp][] = [
      ['SENTIMENT_LEXICON', undefined, /cannot be read.*ENOENT/],
      ['SENTIMENT_LEXICON', '{"positive":', /cannot be read.*JSON/],
      ['SENTIMENT_LEXICON', '["good"]', /no lists of words called "positive" and "negative"/],
      ['SENTIMENT_LEXICON', 'null', /no lists of words/],
      ['SENTIMENT_LEXICON', '{"positive":["good"]}', /no lists of words/],
      ['SENTIMENT_LEXICON', '{"positive":["good"],"negative":[1]}', /no lists of words/],
      ['SENTIMENT_LEXICON', '{"positive":["good"],"negative":["Good"]}', /"good" in both lists/],
      ['EMOTE_LIST', undefined, /cannot be read.*ENOENT/],
      ['EMOTE_LIST', '{"emotes":["LUL"]}', /no list of texts/],
    ]
    for (const [setting, content, says] of cases) {
      const path = content === undefined ? '/nowhere/at/all.json' : await world.file('given.json', content)
      assert.throws(
        () => telemetra.plan({ [setting]: path, WINDOW_DURATION: 1, SLIDE_DURATION: 1, WATERMARK_DELAY: 1 }),
        { code: 'INVALID_SETTING', at: setting, message: says },
        `${setting}: ${content}`,
      )
    }
  })
})

describe('settings', () => {
  test('WINDOW_DURATION and SLIDE_DURATION say which windows there are, and the rate goes by their length', async () => {
    for (const [size, slide] of [
      [30, 30],
      [20, 5],
      [90, 60],
      [25, 10],
    ] as const) {
      await using world = await openWorld({ WINDOW_DURATION: `${size} seconds`, SLIDE_DURATION: `${slide} seconds` })
      const said = Array.from({ length: 40 }, (_, i) => chat(i * 7.3))
      const seen = Array.from({ length: 10 }, (_, i) => viewers(i * 31, i * 100))
      await world.chat(...json(said))
      await world.viewers(...json(seen))
      await world.run({ final: true })
      await holds(world, said, seen, { ...usualRules, sizeMs: size * 1000, slideMs: slide * 1000 })
    }
  })

  test('a window closes when the watermark, WATERMARK_DELAY behind the newest message, has passed its end', async () => {
    for (const [delay, closed] of [
      ['10 seconds', 1],
      ['0 seconds', 2],
      ['61 seconds', 0],
    ] as const) {
      await using world = await openWorld({ SLIDE_DURATION: '1 minute', WATERMARK_DELAY: delay })
      await world.chat(chat(1), chat(61), chat(70), chat(120))
      await world.viewers(viewers(125, 1))
      await world.run()
      const rows = await world.sql('select count(*) filter (where final)::int as closed from chat_summary_minute')
      assert.deepEqual(rows, [{ closed }], delay)
    }
  })

  test('ANOMALY_THRESHOLD says how unlike a window must be', async () => {
    const said = bursts([1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 4])
    for (const [threshold, found] of [
      ['3', ['chat_spike']],
      ['5', ['chat_spike']],
      ['5.1', []],
      ['100', []],
    ] as const) {
      await using world = await openWorld({ ...alone, ANOMALY_THRESHOLD: threshold })
      await world.chat(...json(said))
      await world.run({ final: true })
      const rows = await world.sql('select moment_type from moments')
      assert.deepEqual(
        rows.map((row) => row['moment_type']),
        found,
        threshold,
      )
    }
  })

  test('a window of a second and a half has its rate, too', async () => {
    await using world = await openWorld({ WINDOW_DURATION: '1500 ms', SLIDE_DURATION: '500 ms' })
    const said = [chat(1), chat(1.2), chat(4)]
    await world.chat(...json(said))
    await world.run({ final: true })
    await holds(world, said, [], { ...usualRules, sizeMs: 1500, slideMs: 500 })
  })

  test('a setting that makes no sense is an error that names it', () => {
    const usual = {
      WINDOW_DURATION: 60_000,
      SLIDE_DURATION: 10_000,
      WATERMARK_DELAY: 0,
      TOP_EMOTES: 5,
      ANOMALY_THRESHOLD: 3,
    }
    const cases: [setting: string, value: number, says: RegExp][] = [
      ['WINDOW_DURATION', 0, /at least 1 ms/],
      ['SLIDE_DURATION', 0, /from 1 ms to WINDOW_DURATION/],
      ['SLIDE_DURATION', 60_001, /from 1 ms to WINDOW_DURATION/],
      ['TOP_EMOTES', 0, /from 1 to 1,000/],
      ['TOP_EMOTES', 1001, /from 1 to 1,000/],
      ['ANOMALY_THRESHOLD', 0, /more than 0/],
      ['ANOMALY_THRESHOLD', -3, /more than 0/],
    ]
    for (const [at, value, message] of cases)
      assert.throws(() => telemetra.plan({ ...usual, [at]: value }), { code: 'INVALID_SETTING', at, message })
  })
})

describe('what comes in', () => {
  test('a timestamp is ISO 8601, with any offset, or epoch milliseconds, as a number or a text', async () => {
    await using world = await openWorld({ WINDOW_DURATION: '10 seconds' })
    const times = [
      at(1),
      '2026-01-01T14:00:01+02:00',
      '2026-01-01T12:00:01',
      '2026-01-01 12:00:01.5Z',
      noon + 1000,
      `${noon + 1999}`,
    ]
    await world.chat(...times.map((timestamp) => ({ ...chat(0), timestamp })))
    await world.viewers({ ...viewers(0, 5), timestamp: noon + 1000 }, { ...viewers(0, 7), timestamp: at(2) })
    const { books } = await world.run({ final: true })
    assert.equal(books.dead, 0)
    assert.deepEqual(await world.sql('select window_start, chat_count::int, avg_viewers from chat_summary_minute'), [
      { window_start: new Date(noon), chat_count: times.length, avg_viewers: 6 },
    ])
  })

  test('what may be left out may be left out, and fields that nobody knows hold nothing up', async () => {
    await using world = await openWorld({ WINDOW_DURATION: '10 seconds' })
    const bare = { stream_id: 's', user_id: 'u', message: '', timestamp: at(1) }
    await world.chat(
      bare,
      { ...bare, event_id: null, username: null, emotes: null },
      { ...bare, badges: ['mod'], bits: 3 },
    )
    const { books } = await world.run({ final: true })
    assert.partialDeepStrictEqual(books, { written: 3, dead: 0 })
  })

  test('a malformed message is a dead letter with topic, partition and offset, and those around it count', async () => {
    await using world = await openWorld({ WINDOW_DURATION: '10 seconds' })
    const good = { stream_id: 's', user_id: 'u', message: 'hello', timestamp: at(1) }
    const text = JSON.stringify(good)
    const nested = `${text.slice(0, -1)},"reply":${'['.repeat(100_000)}${']'.repeat(100_000)}}`
    const poison: [value: Value, code: string, column: string | null][] = [
      [text.slice(0, -5), 'NOT_JSON', null],
      ['', 'NOT_JSON', null],
      ['hello', 'NOT_JSON', null],
      [`${text}${text}`, 'NOT_JSON', null],
      [`${text.slice(0, -1)},}`, 'NOT_JSON', null],
      [`[${text}]`, 'NOT_AN_OBJECT', null],
      ['"text"', 'NOT_AN_OBJECT', null],
      ['null', 'NOT_AN_OBJECT', null],
      [null, 'NO_VALUE', null],
      [Buffer.concat([Buffer.from(text.slice(0, -2)), Buffer.from([0xff]), Buffer.from('"}')]), 'INVALID_UTF8', null],
      [Buffer.from([0xc3, 0x28]), 'INVALID_UTF8', null],
      [nested, 'TOO_DEEP', null],
      [{ ...good, message: 'a\u0000b' }, 'NUL_BYTE', 'message'],
      [`${text.slice(0, -1)},"user_id":"v"}`, 'DUPLICATE_KEY', 'user_id'],
      [{ ...good, stream_id: { is: 's' } }, 'WRONG_TYPE', 'stream_id'],
      [{ ...good, emotes: 'Kappa' }, 'NOT_A_LIST', 'emotes'],
      [{ ...good, emotes: [1] }, 'NOT_A_LIST', 'emotes'],
      [{ ...good, emotes: { a: 1 } }, 'NOT_A_LIST', 'emotes'],
      [{ ...good, stream_id: '' }, 'EMPTY', 'stream_id'],
      [{ ...good, user_id: '' }, 'EMPTY', 'user_id'],
      [{ ...good, stream_id: undefined }, 'MISSING', 'stream_id'],
      [{ ...good, user_id: null }, 'MISSING', 'user_id'],
      [{ ...good, message: undefined }, 'MISSING', 'message'],
      [{ ...good, timestamp: undefined }, 'MISSING', 'timestamp'],
      [{ ...good, timestamp: 'yesterday' }, 'NOT_A_TIMESTAMP', 'timestamp'],
      [{ ...good, timestamp: '2026-02-30T00:00:00Z' }, 'NOT_A_TIMESTAMP', 'timestamp'],
      [{ ...good, timestamp: 1.5 }, 'NOT_A_TIMESTAMP', 'timestamp'],
    ]
    await world.chat(...poison.flatMap(([value]) => [value, text]))
    const watched = { stream_id: 's', viewer_count: 5, timestamp: noon }
    const poisonViewers: [value: Value, code: string, column: string | null][] = [
      [{ ...watched, viewer_count: 'many' }, 'NOT_AN_INTEGER', 'viewer_count'],
      [{ ...watched, viewer_count: 1.5 }, 'NOT_AN_INTEGER', 'viewer_count'],
      [{ ...watched, viewer_count: -1 }, 'BELOW_MINIMUM', 'viewer_count'],
      [{ ...watched, viewer_count: null }, 'MISSING', 'viewer_count'],
    ]
    await world.viewers(...poisonViewers.flatMap(([value]) => [value, watched]))
    const { books } = await world.run({ final: true })
    const all = poison.length + poisonViewers.length
    assert.partialDeepStrictEqual(books, { rowsIn: 2 * all, written: all, dead: all })
    const letters = await world.sql(
      `select place, code, column_name from millrace.dead_letters order by source, split_part(place, '/', 3)::int`,
    )
    const expected = (topic: string, of: typeof poison): Row[] =>
      of.map(([, code, column_name], i) => ({ place: `${topic}/0/${2 * i}`, code, column_name }))
    assert.deepEqual(letters, [
      ...expected('telemetra.events.chat', poison),
      ...expected('telemetra.events.viewer', poisonViewers),
    ])
    assert.deepEqual(await world.sql('select chat_count::int, avg_viewers from chat_summary_minute'), [
      { chat_count: poison.length, avg_viewers: 5 },
    ])
  })

  test('a letter tells of every column, also of those that no step reads, as they were written', async () => {
    await using world = await openWorld({ WINDOW_DURATION: '10 seconds' })
    const event = (more: string) => `{"username":"Zoë, \\"the\\" \\u00e9","event_id":1.50,${more},"message":"x"}`
    const [stream, time] = ['"stream_id":"s"', `"timestamp":"${at(1)}"`]
    await world.chat(
      event(`${stream},${time}`),
      event(stream),
      event(`"stream_id":"${'k'.repeat(3000)}","user_id":"u",${time}`),
    )
    await world.run({ final: true })
    const letters = await world.sql(
      `select code, fields ->> 'username' as username, fields ->> 'event_id' as event_id, fields ->> 'message' as message
from millrace.dead_letters order by split_part(place, '/', 3)::int`,
    )
    const told = { username: 'Zoë, "the" é', event_id: '1.50', message: 'x' }
    assert.deepEqual(letters, [
      { code: 'MISSING', ...told },
      { code: 'MISSING', ...told },
      { code: 'KEY_TOO_LONG', ...told },
    ])
  })

  test('a message of 10 MB counts like any other, one beyond 32 MiB is a dead letter, and those around them count', async () => {
    await using world = await openWorld({ WINDOW_DURATION: '10 seconds' })
    const long = (bytes: number) => chat(1, { message: `${'good '.repeat(bytes / 5)}` })
    await world.chat(chat(1), long(10_000_000), chat(1))
    await world.chat(long(40_000_000), chat(1))
    const { books } = await world.run({ final: true })
    assert.partialDeepStrictEqual(books, { rowsIn: 5, written: 4, dead: 1 })
    assert.deepEqual(await world.sql('select code, place from millrace.dead_letters'), [
      { code: 'ROW_TOO_LONG', place: 'telemetra.events.chat/0/3' },
    ])
    assert.deepEqual(await world.sql('select chat_count::int, positive_count::int from chat_summary_minute'), [
      { chat_count: 4, positive_count: 1 },
    ])
  })

  test('a late message is kept and counted, and changes no closed window', async () => {
    await using world = await openWorld({ SLIDE_DURATION: '1 minute' })
    const said = [chat(1), chat(140)]
    await world.chat(...json(said))
    await world.run()
    const before = await closedRows(world)
    assert.equal(before.length, 1)
    const late = chat(59)
    // this one is behind the watermark, and its window is open
    const slow = chat(125)
    await world.chat(...json([late, slow]))
    const { books } = await world.run()
    assert.partialDeepStrictEqual(books, { rowsIn: 2, written: 1, late: 1 })
    assert.deepEqual(await closedRows(world), before)
    const kept = await world.sql('select place, event_time, window_start, late_by_ms::int, raw from millrace.late_rows')
    assert.deepEqual(kept, [
      {
        place: 'telemetra.events.chat/0/2',
        event_time: new Date(at(59)),
        window_start: new Date(at(0)),
        late_by_ms: 71_000,
        raw: JSON.stringify(late),
      },
    ])
    await world.run({ final: true })
    await holds(world, [...said, slow], [], { ...usualRules, slideMs: 60_000 })
  })
})

// Windows that do not overlap, so that a test can say what each has.
const alone = { WINDOW_DURATION: '10 seconds' }
const aloneRules = { ...usualRules, sizeMs: 10_000 }

/** So many messages in one window after another. */
function bursts(counts: readonly number[], more: Partial<Chat> = {}): Chat[] {
  return counts.flatMap((n, i) => Array.from({ length: n }, () => chat(i * 10 + 1, more)))
}

describe('moments', () => {
  test('a window unlike the ten before it is a moment: a spike or a drop of chat or viewers, or a spike of emotes', async () => {
    await using world = await openWorld(alone)
    const steady = [10, 11, 10, 11, 10, 11, 10, 11, 10, 11]
    const said = [
      ...bursts([...steady, 30], { stream_id: 'chat up' }),
      ...bursts([...steady, 1], { stream_id: 'chat down' }),
      ...steady.flatMap((n, i) => [
        chat(i * 10 + 1, { stream_id: 'emotes up', emotes: n === 10 ? ['a'] : ['a', 'b'] }),
      ]),
      chat(101, { stream_id: 'emotes up', emotes: ['a', 'a', 'a', 'a', 'a', 'a', 'a'] }),
    ]
    const seen = [...steady, 50].map((n, i) => viewers(i * 10 + 1, n, { stream_id: 'viewers up' }))
    seen.push(...[...steady, 2].map((n, i) => viewers(i * 10 + 1, n, { stream_id: 'viewers down' })))
    await world.chat(...json(said))
    await world.viewers(...json(seen))
    await world.run({ final: true })
    await momentsHold(world, await holds(world, said, seen, aloneRules), aloneRules)
    assert.deepEqual(await world.sql('select stream_id, moment_type, window_start from moments order by 1'), [
      { stream_id: 'chat down', moment_type: 'chat_drop', window_start: new Date(at(100)) },
      { stream_id: 'chat up', moment_type: 'chat_spike', window_start: new Date(at(100)) },
      { stream_id: 'emotes up', moment_type: 'emote_spike', window_start: new Date(at(100)) },
      { stream_id: 'viewers down', moment_type: 'viewer_drop', window_start: new Date(at(100)) },
      { stream_id: 'viewers up', moment_type: 'viewer_spike', window_start: new Date(at(100)) },
    ])
    const [up] = await world.sql(`select * from moments where stream_id = 'chat up'`)
    assert.partialDeepStrictEqual(up, { value: 3, mean: 1.05, deviation: 0.05, z_score: 39 })
    assert.ok(up?.['detected_at'] instanceof Date)
    assert.partialDeepStrictEqual(up?.['details'], { windows: 10, expected: 1.05, deviations: 39 })
  })

  test('with fewer than ten windows before it, or ten that are all alike, nothing is said', async () => {
    await using world = await openWorld(alone)
    const said = [
      ...bursts([1, 2, 1, 2, 1, 2, 1, 2, 1, 50], { stream_id: 'nine before' }),
      ...bursts([2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 50], { stream_id: 'all alike' }),
    ]
    await world.chat(...json(said))
    await world.run({ final: true })
    assert.deepEqual(await momentsHold(world, await holds(world, said, [], aloneRules), aloneRules), [])
  })

  test('the ten before it are those that have a row, of its own stream', async () => {
    await using world = await openWorld(alone)
    // every third window has somebody in it, and another stream is there all the time
    const said = [1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 9].flatMap((n, i) =>
      Array.from({ length: n }, () => chat(i * 30 + 1, { stream_id: 'now and then' })),
    )
    said.push(
      ...bursts(
        Array.from({ length: 33 }, () => 100),
        { stream_id: 'busy' },
      ),
    )
    await world.chat(...json(said))
    await world.run({ final: true })
    assert.deepEqual(await momentsHold(world, await holds(world, said, [], aloneRules), aloneRules), ['chat_spike'])
  })

  test('a window without viewers is not judged by them, and is none of those before', async () => {
    await using world = await openWorld(alone)
    const said = bursts(Array.from({ length: 22 }, () => 1))
    const counts = [10, 11, null, 10, 11, 10, null, null, 11, 10, 11, 10, 11, null, 90, null]
    const seen = counts.flatMap((n, i) => (n === null ? [] : [viewers(i * 10 + 1, n)]))
    await world.chat(...json(said))
    await world.viewers(...json(seen))
    await world.run({ final: true })
    assert.deepEqual(await momentsHold(world, await holds(world, said, seen, aloneRules), aloneRules), ['viewer_spike'])
    assert.deepEqual(await world.sql('select window_start from moments'), [{ window_start: new Date(at(140)) }])
  })

  test('only a closed window is judged, when it closes', async () => {
    await using world = await openWorld(alone)
    const steady = [10, 11, 10, 11, 10, 11, 10, 11, 10, 11]
    await world.chat(...json(bursts([...steady, 30])))
    await world.run()
    assert.deepEqual(await world.sql('select * from moments'), [])
    await world.chat(chat(121))
    await world.run()
    assert.deepEqual(await world.sql('select moment_type, window_start from moments'), [
      { moment_type: 'chat_spike', window_start: new Date(at(100)) },
    ])
  })
})

describe('again and again', () => {
  test('cut into many runs, each by a worker that knows only what is stored, it says the same, and no moment twice', async () => {
    await using world = await openWorld({ SLIDE_DURATION: '20 seconds' })
    const made = await sample({ count: 3_000, durationSeconds: 900, options: { streams: '2' } })
    const rules = { ...usualRules, slideMs: 20_000 }
    // in the order of their times to within the watermark's delay, as they are made
    const pieces = 6
    for (let i = 0; i < pieces; i++) {
      const piece = (values: Value[]) => values.slice((i * values.length) / pieces, ((i + 1) * values.length) / pieces)
      await world.append('telemetra.events.chat', piece(made.chat))
      await world.append('telemetra.events.viewer', piece(made.viewers))
      const { books } = await world.run({ final: i === pieces - 1 })
      assert.equal(books.late, 0)
    }
    const closed = await holds(world, parsed<Chat>(made.chat), parsed<Viewers>(made.viewers), rules)
    assert.ok((await momentsHold(world, closed, rules)).length > 0)
  })

  test('a worker that is stopped again and again while messages come says the same, too', async () => {
    await using world = await openWorld({ SLIDE_DURATION: '20 seconds' })
    const made = await sample({ count: 2_000, durationSeconds: 900, options: { streams: '2' } })
    const rules = { ...usualRules, slideMs: 20_000 }
    await world.append('telemetra.events.viewer', made.viewers)
    const pieces = 4
    for (let i = 0; i < pieces; i++) {
      const worker = world.work()
      await world.append(
        'telemetra.events.chat',
        made.chat.slice((i * made.chat.length) / pieces, ((i + 1) * made.chat.length) / pieces),
      )
      await until(async () => {
        const [row] = await world.sql('select coalesce(sum(rows_in), 0)::int as n from millrace.batches')
        return Number(row?.['n']) > (made.chat.length * i) / pieces
      })
      await worker.stop()
    }
    await world.run({ final: true })
    const late = await world.sql('select sum(late)::int as late from millrace.batches')
    assert.deepEqual(late, [{ late: 0 }])
    const closed = await holds(world, parsed<Chat>(made.chat), parsed<Viewers>(made.viewers), rules)
    assert.ok((await momentsHold(world, closed, rules)).length > 0)
  })

  test('a window that was told as it filled is told once more when it closes, and is final from then on', async () => {
    await using world = await openWorld({ SLIDE_DURATION: '1 minute' })
    await world.chat(chat(1), chat(20))
    await world.run()
    const [open] = await world.sql('select chat_count::int, final, updated_at from chat_summary_minute')
    assert.partialDeepStrictEqual(open, { chat_count: 2, final: false })
    await world.chat(chat(30), chat(200))
    await world.run()
    const [closed] = await closedRows(world)
    assert.partialDeepStrictEqual(closed, { chat_count: 3, final: true })
    assert.ok(Number(closed?.['updated_at']) > Number(open?.['updated_at']), 'updated_at moves with the row')
    await world.run({ final: true })
    assert.equal((await closedRows(world)).length, 2)
    await world.chat(chat(40))
    const { books } = await world.run()
    assert.equal(books.late, 1, 'after the end everything is late')
  })
})

describe('results', () => {
  test('each route answers with the columns that it declares, and charts draw columns that are there', async () => {
    await using world = await openWorld()
    const made = await sample({ count: 3_000, durationSeconds: 900, options: { streams: '3' } })
    await world.append('telemetra.events.chat', made.chat)
    await world.append('telemetra.events.viewer', made.viewers)
    await world.run()
    const routes = new Map((telemetra.routes ?? []).map((route) => [route.name, route]))
    const answer = async (address: string): Promise<Row[]> => {
      const { pathname, searchParams } = new URL(address, 'http://results/')
      const route = routes.get(pathname.slice(1))
      assert.ok(route !== undefined, `there is no route ${address}`)
      const given = Object.entries(route.query ?? {}).map(([name, { default: usual }]) => {
        const value = searchParams.get(name)
        return [name, value === null ? usual : typeof usual === 'number' ? Number(value) : value]
      })
      const rows = await route.handle(
        { query: Object.fromEntries(given) },
        {
          sql: world.sql,
          files: async () => [],
          cache: { through: (_, make) => make() },
          enqueue: async () => {},
          signal: new AbortController().signal,
        },
      )
      assert.ok(rows.length > 0, address)
      assert.deepEqual(Object.keys(rows[0] ?? {}), Object.keys(route.answers), address)
      return rows
    }
    for (const { route, x, y, by, marks } of telemetra.charts ?? []) {
      const [row = {}] = await answer(route)
      for (const column of [x, ...y, ...(by === undefined ? [] : [by])])
        assert.ok(column in row, `${column} of ${route}`)
      if (marks === undefined) continue
      const [mark = {}] = await answer(marks.route)
      for (const column of [marks.x, marks.label, by ?? marks.x])
        assert.ok(column in mark, `${column} of ${marks.route}`)
    }
    const chats = parsed<Chat>(made.chat)
    const closedUntil = (await closedRows(world)).reduce(
      (latest, row) => Math.max(latest, Number(row['window_end'])),
      0,
    )
    const counts = new Map<string, number>()
    for (const event of chats.filter((event) => timeOf(event) < Math.floor(closedUntil / 60_000) * 60_000))
      for (const emote of event.emotes ?? emotesOf(event, words)) counts.set(emote, (counts.get(emote) ?? 0) + 1)
    const told = await answer('emotes?limit=1000&minutes=1440')
    assert.deepEqual(
      new Map(told.map(({ emote, uses }) => [emote, Number(uses)])),
      new Map([...counts].sort(([a, n], [b, m]) => m - n || byBytes(a, b))),
      'each occurrence once, though windows overlap',
    )
    const open = await answer('open-windows?limit=50')
    assert.equal(new Set(open.map(({ stream_id }) => stream_id)).size, open.length, 'one of each stream')
    const [busiest] = await answer('chat-rate?streams=1&minutes=1440')
    assert.equal(busiest?.['stream_id'], 'stream_001')
  })
})

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const most = performance.now() + 20_000
  while (!(await isSo())) {
    assert.ok(performance.now() < most, 'it did not come so in 20 s')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

test('what was generated comes in order within the watermark, so that nothing good is late', async () => {
  const made = await sample({ count: 20_000, durationSeconds: 3_600 })
  const delay = 10_000
  for (const values of [parsed<Chat>(made.chat), parsed<Viewers>(made.viewers)]) {
    let newest = 0
    for (const event of values) {
      assert.ok(timeOf(event) > newest - delay)
      newest = Math.max(newest, timeOf(event))
    }
  }
})
