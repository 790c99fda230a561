/**
 * Places where a test can make Millrace fail, named as below. Off unless `MILLRACE_FAILPOINT` is set:
 * `name[@n]=kill|throw|delay[:ms]` acts the n-th time the place is reached (default: the first).
 */
import { MillraceError } from './errors.ts'

/** Every step of a batch and of a file's life, in the order they are reached. */
export const failpoints = [
  'listed',
  'claimed',
  'staged',
  'validated',
  'before begin',
  'after rows',
  'after state',
  'after positions',
  'commit sent',
  'commit acknowledged',
  'effect quarantine',
  'effect move files',
  'effect publish files',
  'effect metrics',
  'effects done',
] as const

/** A bounded run that goes through buckets: what a batch leaves for the next stage is durable. */
export const runFailpoints = ['rows left'] as const

/** The steps of archiving, which goes on beside the batches: each is reached on both sides of every file's step. */
export const archiveFailpoints = [
  'archive write',
  'archive link',
  'archive remove source',
  'archive remove temp',
  'archive cursor',
] as const

/** Publishing to topics, which goes on beside the batches too: reached on both sides of an append, and behind its cursor. */
export const publishFailpoints = ['effect publish'] as const

/** The steps of a group of appends to a local topic. */
export const logFailpoints = ['log begun', 'log synced', 'log ended'] as const

/** The steps of events that are posted, around those of the log. */
export const ingestFailpoints = ['ingest taken', 'ingest durable'] as const

/** The steps of a transaction of a follower. */
export const followFailpoints = ['follow begun', 'follow written', 'follow committed'] as const

/** Drops from a cache that others share: what is noted is read, and not yet dropped. */
export const cacheFailpoints = ['cache drop'] as const

/** A run on Spark, before its commit: its tables are made, and what Spark has made of the input lies in them. */
export const sparkFailpoints = ['spark begun', 'spark staged'] as const

const known: readonly string[] = [
  ...failpoints,
  ...runFailpoints,
  ...archiveFailpoints,
  ...publishFailpoints,
  ...logFailpoints,
  ...ingestFailpoints,
  ...followFailpoints,
  ...cacheFailpoints,
  ...sparkFailpoints,
]

export type Failpoint =
  | (typeof failpoints)[number]
  | (typeof runFailpoints)[number]
  | (typeof archiveFailpoints)[number]
  | (typeof publishFailpoints)[number]
  | (typeof logFailpoints)[number]
  | (typeof ingestFailpoints)[number]
  | (typeof followFailpoints)[number]
  | (typeof cacheFailpoints)[number]
  | (typeof sparkFailpoints)[number]

interface Armed {
  point: string
  /** How many times the place is passed before it acts. */
  passes: number
  act: 'kill' | 'throw' | 'delay'
  delayMs: number
}

let armed: Armed | undefined = parse(process.env['MILLRACE_FAILPOINT'])

/** Sets or clears the fail point of this process, as the environment variable would. */
export function arm(setting: string | undefined): void {
  armed = parse(setting)
}

/** Stands at each place named above; does nothing unless that one is armed. */
export async function failpoint(point: Failpoint): Promise<void> {
  if (armed?.point !== point) return
  if (armed.passes > 0) {
    armed.passes--
    return
  }
  const { act, delayMs } = armed
  armed = undefined
  switch (act) {
    case 'kill':
      process.kill(process.pid, 'SIGKILL')
      // the signal may take a moment; nothing after this place may run
      await new Promise(() => setInterval(() => {}, 1000))
      return
    case 'throw':
      throw new MillraceError('FAILPOINT', { message: `the fail point "${point}" was reached`, retry: false })
    case 'delay':
      await new Promise((resolve) => setTimeout(resolve, delayMs))
  }
}

function parse(setting: string | undefined): Armed | undefined {
  if (setting === undefined || setting === '') return undefined
  const match = /^([a-z ]+?)(?:@(\d+))?=(kill|throw|delay)(?::(\d+))?$/.exec(setting)
  const point = match?.[1]
  if (match === null || point === undefined || !known.includes(point)) {
    throw new MillraceError('INVALID_SETTING', {
      at: 'MILLRACE_FAILPOINT',
      message: `"${setting}" is not name[@n]=kill|throw|delay[:ms]`,
      hint: `the names are ${known.join(', ')}`,
    })
  }
  return {
    point,
    passes: Number(match[2] ?? 1) - 1,
    // as: the expression above allows only these three
    act: match[3] as Armed['act'],
    delayMs: Number(match[4] ?? 1000),
  }
}
