/** What is read for the API beyond what the store's contract offers: read-only statements over Millrace's own tables. */
import type { Dirent } from 'node:fs'
import { opendir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { filesSources } from '../sources/files/waiting.ts'
import { type TopicLag, topicLags } from '../sources/topic/lag.ts'
import type { PipelineStatus } from '../store/store.ts'
import type { BoardLine } from './board.ts'
import type { Desk } from './desk.ts'
import { numbersOf, positionsOf, type StoredPosition } from './numbers.ts'
import { type PipelineView, pipelineView } from './views.ts'

/** A pipeline as it is now, and what was asked for it. */
export interface Described {
  view: PipelineView
  positions: StoredPosition[]
  /** Undefined when the database does not answer. */
  topics: TopicLag[] | undefined
}

/** All pipelines of this process. */
export async function describePipelines(desk: Desk): Promise<PipelineView[]> {
  return [...(await describe(desk)).values()].map(({ view }) => view)
}

/** All pipelines of this process, by name. Without the database it says what the process knows by itself. */
export async function describe({ board: { store, lines, works }, ends }: Desk): Promise<Map<string, Described>> {
  // the workers say what is wrong with the database
  const unknown = (): undefined => undefined
  const [stored, numbers, positions] = await Promise.all([
    store?.reads.status().catch((): PipelineStatus[] => []),
    store === undefined ? undefined : numbersOf(store.reads).catch(unknown),
    store === undefined ? undefined : positionsOf(store.reads).catch(unknown),
  ])
  const now = Date.now()
  const described = [...lines].map(async ([name, line]): Promise<[string, Described]> => {
    const own = positions?.filter(({ pipeline }) => pipeline === name)
    const topics = own === undefined && readsTopics(line) ? undefined : await topicLags(line.plan, own ?? [], ends)
    const view = pipelineView(name, line, {
      now,
      stored: stored?.find(({ pipeline }) => pipeline === name),
      numbers: numbers?.get(name),
      topics,
      works,
      fileSeconds: await oldestSeconds(line),
    })
    return [name, { view, positions: own ?? [], topics }]
  })
  return new Map(await Promise.all(described))
}

function readsTopics({ plan }: BoardLine): boolean {
  return Object.values(plan.sources).some(({ is }) => is === 'topic')
}

const looksAt = 200

// How long the oldest of the files that wait has waited; of very many, of the first ones that are found.
async function oldestSeconds({ plan, files }: BoardLine): Promise<number> {
  if (files.waiting === 0) return 0
  let oldest = Date.now()
  for (const { folder } of filesSources(plan)) {
    const entries = await readFirst(folder)
    for (const entry of entries) {
      if (!entry.isFile() || entry.name.startsWith('.')) continue
      const found = await stat(join(folder, entry.name)).catch(() => undefined)
      if (found !== undefined) oldest = Math.min(oldest, found.ctimeMs)
    }
  }
  return Math.max(0, Math.round((Date.now() - oldest) / 100) / 10)
}

// A folder that cannot be read has nothing that waits; the worker says what is wrong with it.
async function readFirst(folder: string): Promise<Dirent[]> {
  const found: Dirent[] = []
  try {
    for await (const entry of await opendir(folder)) if (found.push(entry) >= looksAt) break
  } catch {
    return []
  }
  return found
}
