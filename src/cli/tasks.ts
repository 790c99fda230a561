/** Background work: what waits, and what has failed for good. */
import { MillraceError } from '../errors.ts'
import { listTasks, type TaskView } from '../tasks/queue.ts'
import { retryTasks } from '../tasks/retry.ts'
import { commandLog, openStore, readConfig, shortWaitMs } from './open.ts'
import { counted, cut, printable, tableLines } from './text.ts'
import { jsonOption, type Verb, wholeNumberOption } from './verb.ts'

const usualLimit = 50

export const tasksList: Verb = {
  says: 'Lists tasks that wait, run, or have failed for good: these first. What was done is gone.',
  usage: '[pipeline] [--dead] [--limit N] [--json]',
  options: {
    dead: { type: 'boolean', says: 'only those that have failed for good' },
    limit: { type: 'string', says: `so many at most; ${usualLimit} when not given` },
    ...jsonOption,
  },
  examples: ['millrace tasks list', 'millrace tasks list spark-logs --dead'],
  async run({ words: [pipeline], options, signal, out }) {
    const { config } = readConfig()
    await using opened = await openStore(config, commandLog(config), { waitMs: shortWaitMs, signal })
    const tasks = await listTasks((sql, values) => opened.store.select(sql, values), {
      ...(pipeline === undefined ? {} : { pipeline }),
      dead: options['dead'] === true,
      limit: wholeNumberOption(options, 'limit') ?? usualLimit,
    })
    if (options['json'] === true) for (const task of tasks) out(JSON.stringify(task))
    else if (tasks.length === 0) out('no task waits, runs or is dead')
    else for (const line of lines(tasks)) out(line)
    return 0
  },
}

export const tasksRetry: Verb = {
  says: 'Runs tasks again that have failed for good.',
  usage: '<id>... | --all [--json]',
  options: { all: { type: 'boolean', says: 'every dead one' }, ...jsonOption },
  examples: ['millrace tasks retry 3f0e9a54-8a7c-4a49-9d4a-5f4f0f9a3f52', 'millrace tasks retry --all'],
  async run({ words, options, signal, out }) {
    const all = options['all'] === true
    if (words.length === 0 && !all) {
      throw new MillraceError('WRONG_USAGE', {
        message: 'which task?',
        hint: '`millrace tasks list --dead` shows their ids; --all means every dead one',
      })
    }
    const { config } = readConfig()
    const log = commandLog(config)
    await using opened = await openStore(config, log, { waitMs: shortWaitMs, signal })
    const ids = all ? await deadOnes((sql, values) => opened.store.select(sql, values)) : words
    await retryTasks(opened.store, ids, log)
    if (options['json'] === true) out(JSON.stringify({ retried: ids.length }))
    else out(ids.length === 0 ? 'no task is dead' : `${counted(ids.length, 'task')} will be run again`)
    return 0
  },
}

const mostAtOnce = 10_000

async function deadOnes(select: Parameters<typeof listTasks>[0]): Promise<string[]> {
  return (await listTasks(select, { dead: true, limit: mostAtOnce })).map(({ id }) => id)
}

function lines(tasks: TaskView[]): string[] {
  const columns = ['id', 'pipeline', 'task', 'key', 'state', 'failures', 'why'].map((title) => ({ title }))
  return tableLines(
    columns,
    tasks.map(({ id, pipeline, task, key, state, failures, why }) => [
      id,
      pipeline,
      task,
      cut(printable(key), 30),
      state,
      String(failures),
      cut(printable(why ?? ''), 80),
    ]),
  )
}
