/** Background work: what waits, what runs, and what has failed for good, to be run again. */
import { useEffect, useState } from 'preact/hooks'
import { ask, type Problem, problemFrom, useAnswer } from './api.ts'
import { counted, dayAndTime, number } from './format.ts'
import { Heading } from './parts/heading.tsx'
import { Advice, Empty, Loading, ProblemNotice } from './parts/notice.tsx'
import { Scroller } from './parts/scroller.tsx'
import { onOneLine } from './parts/text-parts.ts'
import type { Task, Tasks } from './types.ts'

const lookEveryMs = 2_000
const shownAtMost = 200

export function TasksView() {
  const { answer, problem, again } = useAnswer<Tasks>(`/api/tasks?limit=${shownAtMost}`)
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) again()
    }, lookEveryMs)
    return () => clearInterval(timer)
  }, [again])
  return (
    <>
      <Heading title="Tasks">
        <p class="heading-says">Work behind commits. What was done is gone from here.</p>
      </Heading>
      {problem !== undefined && <ProblemNotice problem={problem} again={again} />}
      {answer === undefined && problem === undefined && <Loading what="the tasks" />}
      {answer !== undefined && answer.fault !== null && (
        <Advice tone="warn">No task is run now: {onOneLine(answer.fault)}</Advice>
      )}
      {answer !== undefined && <TaskTables tasks={answer} again={again} />}
    </>
  )
}

function TaskTables({ tasks: { tasks, counts }, again }: { tasks: Tasks; again(): void }) {
  const [failure, setFailure] = useState<Problem>()
  const [busy, setBusy] = useState(false)
  const retry = async (ids: string[]): Promise<void> => {
    setBusy(true)
    setFailure(undefined)
    try {
      await ask('/api/tasks/retry', { method: 'POST', body: { ids } })
    } catch (error) {
      setFailure(problemFrom(error))
    }
    setBusy(false)
    again()
  }
  if (tasks.length === 0) {
    return (
      <Empty title="Nothing waits">
        <p>A task is here from when it is asked for until it is done, or when it has failed for good.</p>
      </Empty>
    )
  }
  const dead = tasks.filter(({ state }) => state === 'dead')
  const all = counts.reduce((sum, { dead }) => sum + dead, 0)
  return (
    <>
      {failure !== undefined && <ProblemNotice problem={failure} />}
      <ul class="task-counts" aria-label="How many there are">
        {counts.map(({ pipeline, task, waiting, running, retrying, dead }) => (
          <li key={`${pipeline}/${task}`}>
            <strong>{onOneLine(`${pipeline} / ${task}`)}</strong> {number(waiting)} waiting, {number(running)} running,{' '}
            {number(retrying)} tried again, {number(dead)} dead
          </li>
        ))}
      </ul>
      {dead.length > 0 && (
        <p>
          <button type="button" class="button" disabled={busy} onClick={() => void retry(dead.map(({ id }) => id))}>
            Run {dead.length === all ? '' : 'the first '}
            {counted(dead.length, 'dead task')} again
          </button>
        </p>
      )}
      <Scroller class="table-box" label="Tasks">
        <table>
          <thead>
            <tr>
              {['State', 'Pipeline', 'Task', 'Key', 'Failures', 'Asked at', 'Why it failed', 'What to do'].map(
                (title) => (
                  <th key={title} scope="col" class={title === 'Failures' ? 'number' : undefined}>
                    {title}
                  </th>
                ),
              )}
            </tr>
          </thead>
          <tbody>
            {tasks.map((task) => (
              <TaskRow key={task.id} task={task} busy={busy} retry={() => void retry([task.id])} />
            ))}
          </tbody>
        </table>
      </Scroller>
    </>
  )
}

const tones: Record<Task['state'], string> = {
  waiting: 'calm',
  running: 'good',
  'failed, tried again': 'warn',
  dead: 'bad',
}

function TaskRow({ task, busy, retry }: { task: Task; busy: boolean; retry(): void }) {
  const { state, pipeline, task: name, key, failures, asked_at, why } = task
  return (
    <tr>
      <td>
        <span class={`state tone-${tones[state]}`}>
          <span class="dot" aria-hidden="true" />
          <strong>{state}</strong>
        </span>
      </td>
      <td>{onOneLine(pipeline)}</td>
      <td>{onOneLine(name)}</td>
      <td>{onOneLine(key)}</td>
      <td class="number">{number(failures)}</td>
      <td class="time">{dayAndTime(asked_at)}</td>
      <td>{why === null ? '' : onOneLine(why)}</td>
      <td>
        {state === 'dead' && (
          <button type="button" class="button button-small" disabled={busy} onClick={retry}>
            Run again
          </button>
        )}
      </td>
    </tr>
  )
}
