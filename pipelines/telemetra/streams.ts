/**
 * Streams and who is in them. Each goes from one mood to another: most of the time people just talk; then something happens
 * and everybody writes at once, another stream's crowd comes over, things go wrong, or hardly anybody says a word.
 */

/** What somebody writes, or how many look on. */
export type Talk =
  | { is: 'chat'; stream: string; user: string; name: string; text: string; emotes: readonly string[] }
  | { is: 'viewers'; stream: string; viewers: number }

type Random = () => number
type Mood = 'calm' | 'hype' | 'raid' | 'salty' | 'quiet'

const moods: Record<
  Mood,
  {
    seconds: [least: number, most: number]
    busy: number
    share: number
    lines: readonly string[]
    emotes: readonly string[]
  }
> = {
  calm: {
    seconds: [60, 240],
    busy: 1,
    share: 0,
    lines: [
      'hey everyone',
      'what game is this',
      'how long have you been live',
      'nice one',
      'lol',
      'good play',
      'first time here, this is fun',
      'anyone know the song',
      'that was close',
      'brb getting food',
      'chat is slow today',
      'I missed it, what happened',
      'cool overlay',
      'I love this map',
      'my lag is bad today',
      'is this ranked',
      'so boring without sound',
      'Kappa',
      'LUL that face',
      'wow ok',
    ],
    emotes: ['LUL', 'Kappa', 'HeyGuys', 'FeelsGoodMan', 'KEKW'],
  },
  hype: {
    seconds: [15, 60],
    busy: 8,
    share: 3,
    lines: [
      'LETS GO',
      'POG POG POG',
      'what a clutch',
      'INSANE',
      'that was insane, best play ever',
      'gg gg gg',
      'HYPE HYPE',
      'no way!!! amazing',
      'clip that',
      'win win win',
      'PogChamp PogChamp PogChamp',
      'goat',
    ],
    emotes: ['PogChamp', 'POGGERS', 'PagMan', 'EZ', 'Kreygasm'],
  },
  raid: {
    seconds: [40, 90],
    busy: 4,
    share: 1,
    lines: [
      'RAID',
      'raid hype!',
      'hello from the raid',
      'we are here',
      'love from the other side',
      'hi new chat',
      'wow so many people',
      'welcome raiders',
    ],
    emotes: ['HeyGuys', 'PogChamp', 'BlessRNG', 'TriHard'],
  },
  salty: {
    seconds: [20, 60],
    busy: 2.5,
    share: 1.5,
    lines: [
      'so bad',
      'worst team ever',
      'rip',
      'lag again, this is terrible',
      'F',
      'throw. trash throw',
      'sad',
      'that was awful',
      'he is dead',
      'scam',
    ],
    emotes: ['FeelsBadMan', 'NotLikeThis', 'Sadge', 'PJSalt', 'BibleThump'],
  },
  quiet: {
    seconds: [30, 120],
    busy: 0.12,
    share: 1.5,
    lines: ['zzz', 'still here', 'anyone', 'is he away', 'dead chat', 'so quiet'],
    emotes: ['ResidentSleeper'],
  },
}
const eventful = (Object.keys(moods) as Mood[]).filter((mood) => moods[mood].share > 0)

const names = [
  'nova',
  'pixel',
  'mango',
  'ghost',
  'turbo',
  'lemon',
  'viper',
  'waffle',
  'comet',
  'panda',
  'rocket',
  'biscuit',
]
const viewersEveryMs = 5000
const moodsEveryMs = 1000
const raiders = 400

interface Stream {
  id: string
  /** How much is said there compared with others. */
  popular: number
  /** Its own people are numbered from here on. */
  people: number
  crowd: number
  viewers: number
  usualViewers: number
  mood: Mood
  until: number
  /** The first of those who came with the last raid. */
  newcomers: number
}

/** So many streams, from the time of the first message on. */
export function openStreams(random: Random, count: number) {
  let people = 0
  const streams = Array.from({ length: count }, (_, i): Stream => {
    // a few are large
    const popular = 1 / Math.sqrt(1 + i)
    const usualViewers = Math.round(20 + 8000 * popular * popular * (0.5 + random()))
    const crowd = Math.max(10, Math.round(usualViewers / 10))
    const stream: Stream = {
      id: `stream_${String(i + 1).padStart(3, '0')}`,
      popular,
      people,
      crowd,
      viewers: usualViewers,
      usualViewers,
      mood: 'calm',
      until: 0,
      newcomers: 0,
    }
    people += crowd
    return stream
  })
  /** For each stream, how busy it and those before it are together. */
  const busy = new Float64Array(count)
  let moodsAt: number | undefined
  let viewersAt = Number.NEGATIVE_INFINITY
  let nextViewers = 0

  function changeMoods(nowMs: number): void {
    let sum = 0
    for (const [i, stream] of streams.entries()) {
      if (moodsAt === undefined) stream.until = nowMs + 1000 * between(random, 5, 180)
      else if (nowMs >= stream.until) changeMood(stream, nowMs)
      sum += stream.popular * moods[stream.mood].busy
      busy[i] = sum
    }
    moodsAt = nowMs + moodsEveryMs
  }

  function changeMood(stream: Stream, nowMs: number): void {
    stream.mood = stream.mood === 'calm' ? someMood(random) : 'calm'
    const [least, most] = moods[stream.mood].seconds
    stream.until = nowMs + 1000 * between(random, least, most)
    if (stream.mood !== 'raid') return
    stream.newcomers = people
    people += raiders
    stream.viewers = Math.round(stream.viewers * between(random, 1.4, 3) + 100)
  }

  // Back to what is usual, by and by, and never quite the same.
  function countViewers(stream: Stream): number {
    const drawn = stream.mood === 'hype' ? 1.5 : stream.mood === 'quiet' ? 0.8 : 1
    const towards = stream.usualViewers * drawn
    stream.viewers = Math.max(
      0,
      Math.round(stream.viewers + (towards - stream.viewers) * 0.03 + stream.viewers * (random() - 0.5) * 0.03),
    )
    return stream.viewers
  }

  function chat(stream: Stream): Talk {
    const { lines, emotes } = moods[stream.mood]
    const user = someone(stream)
    const shown =
      random() < 0.35 ? Array.from({ length: 1 + Math.floor(random() * 3) }, () => pick(random, emotes)) : []
    return {
      is: 'chat',
      stream: stream.id,
      user: `user_${user}`,
      name: `${names[user % names.length]}${user}`,
      text: pick(random, lines),
      emotes: shown,
    }
  }

  function someone({ mood, newcomers, people: first, crowd }: Stream): number {
    if (mood === 'raid' && random() < 0.6) return newcomers + Math.floor(random() * raiders)
    // some write all the time
    const chance = random()
    return first + Math.floor(chance * chance * crowd)
  }

  return {
    /** What comes next; `stepMs` is how far apart messages are. */
    next(nowMs: number, stepMs: number): Talk {
      if (moodsAt === undefined || nowMs >= moodsAt) changeMoods(nowMs)
      if (nowMs >= viewersAt) {
        // one stream after another; where there are many and little is sent, no more than a quarter of it is about viewers
        viewersAt = Math.max(viewersAt, nowMs - viewersEveryMs) + Math.max(viewersEveryMs / count, 4 * stepMs)
        const stream = streams[nextViewers++ % count]
        if (stream !== undefined) return { is: 'viewers', stream: stream.id, viewers: countViewers(stream) }
      }
      const stream = streams[firstAbove(busy, random() * (busy[count - 1] ?? 0))] ?? streams[0]
      if (stream === undefined) throw new Error('there is at least one stream')
      return chat(stream)
    },
  }
}

function someMood(random: Random): Mood {
  let left = random() * eventful.reduce((sum, mood) => sum + moods[mood].share, 0)
  for (const mood of eventful) {
    left -= moods[mood].share
    if (left < 0) return mood
  }
  return 'hype'
}

// The first place in rising numbers that is above this one.
function firstAbove(rising: Float64Array, value: number): number {
  let low = 0
  for (let high = rising.length - 1; low < high; ) {
    const middle = (low + high) >> 1
    if ((rising[middle] ?? 0) > value) high = middle
    else low = middle + 1
  }
  return low
}

function between(random: Random, least: number, most: number): number {
  return least + random() * (most - least)
}

function pick<T>(random: Random, among: readonly T[]): T {
  // as: the place is in the list, and no list here is empty
  return among[Math.floor(random() * among.length)] as T
}
