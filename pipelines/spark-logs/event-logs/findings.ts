/** What is wrong with an application, each with the number that says so, its formula, and evidence. */
import type { Thresholds } from './settings.ts'

interface Finding {
  name: keyof Thresholds
  /** How `value` is computed, for people. */
  formula: string
  /** Rows of about, value, says, evidence (a JSON object), of which some are found. */
  rows: string
  /** It is found below its threshold. */
  below?: boolean
}

const seconds = (ms: string): string => `round(${ms} / 1000.0, 1)`
const percent = (share: string): string => `round(100.0 * ${share}, 1)`

/** Cores that were there, and for how long. */
const coreTime = `(select sum(cores) as cores, sum(cores * greatest(0, epoch_ms(coalesce(e.removed_at, a.ended_at, a.last_event_at)) - epoch_ms(e.added_at))) as ms
  from spark_executors e, spark_apps a where e.cores > 0)`

const findings: Finding[] = [
  {
    name: 'lost_events',
    formula: 'tasks of complete stages - indices of them that ended well in some line',
    rows: `
      select '' as about, sum(tasks - completed_indices) as value,
        format('{} tasks have no end in the log: numbers that come from tasks are too small', sum(tasks - completed_indices)) as says,
        json_object('stages', list({'stage': stage_id || '.' || stage_attempt, 'tasks': tasks, 'ended': completed_indices} order by stage_id)[1:20]) as evidence
      from   spark_stages s
      where  status = 'COMPLETE' and tasks > completed_indices
      -- an index that another attempt of the stage has ended is not run again
      and    not exists (from spark_stages o where o.stage_id = s.stage_id and o.stage_attempt <> s.stage_attempt)
      having count(*) > 0`,
  },
  {
    name: 'success_rate',
    formula: 'completed tasks / (completed + failed + killed tasks)',
    below: true,
    rows: `
      select '' as about, success_rate as value, format('{} of {} tasks did not end well', tasks - round(success_rate * tasks)::bigint, tasks) as says,
        json_object('tasks', tasks, 'failed', failed_tasks) as evidence
      from   spark_apps where tasks > 0`,
  },
  {
    name: 'retry_waste',
    formula: 'time of failed and killed tasks / time of all tasks',
    rows: `
      select '' as about, sum(_retried_ms) / nullif(sum(task_ms_total), 0) as value,
        format('{} s of tasks were for nothing', ${seconds('sum(_retried_ms)')}) as says,
        json_object('wasted_ms', sum(_retried_ms), 'all_ms', sum(task_ms_total)) as evidence
      from   spark_stages`,
  },
  {
    name: 'skew',
    formula:
      'longest task / median task of a stage with 4 tasks or more, where the longest takes a second more; data: the longest also reads twice the median or more, else its host is slow',
    rows: `
      with sized as (
        select t.*, finished_ms - launched_ms as took_ms,
          input_bytes + shuffle_local_bytes + shuffle_remote_bytes + input_records + shuffle_read_records as load
        from   tasks t where reason = 'Success'
      ), of_stages as (
        select stage_id, stage_attempt, count(*) as n, median(took_ms) as usual_ms, max(took_ms) as longest_ms,
          median(load) as usual_load, arg_max({'task': task_id, 'index': task_index, 'load': load, 'host': host, 'executor': executor}, took_ms) as slowest
        from sized group by all
      )
      select 'stage ' || stage_id || '.' || stage_attempt as about, longest_ms / greatest(usual_ms, 1) as value,
        format('task {} takes {} s and the median {} s: {}', slowest.task, ${seconds('longest_ms')}, ${seconds('usual_ms')},
          case when slowest.load >= 2 * greatest(usual_load, 1) then 'it has more data than others' else 'it has as much data as others, so its host ' || slowest.host || ' is slow' end) as says,
        json_object('cause', case when slowest.load >= 2 * greatest(usual_load, 1) then 'data' else 'host' end, 'slowest', slowest,
          'median_ms', usual_ms, 'longest_ms', longest_ms, 'median_load', usual_load, 'tasks', n) as evidence
      from   of_stages
      where  n >= 4 and longest_ms - usual_ms >= 1000`,
  },
  {
    name: 'slow_host',
    formula:
      'sum over tasks of a host / sum of the medians of their stages, of 5 tasks or more and where there are other hosts',
    rows: `
      with sized as (
        select host, finished_ms - launched_ms as took_ms,
          median(finished_ms - launched_ms) over (partition by stage_id, stage_attempt) as usual_ms,
          count(distinct host) over (partition by stage_id, stage_attempt) as hosts
        from   tasks where reason = 'Success'
      )
      select host as about, sum(took_ms) / nullif(sum(usual_ms), 0) as value,
        format('tasks on {} take {} s where {} s are usual', host, ${seconds('sum(took_ms)')}, ${seconds('sum(usual_ms)')}) as says,
        json_object('tasks', count(*), 'took_ms', sum(took_ms), 'usual_ms', sum(usual_ms)) as evidence
      from   sized where hosts > 1
      group by host
      having count(*) >= 5`,
  },
  {
    name: 'spill',
    formula: 'bytes spilled to disk / bytes read from input and shuffle and written to shuffle',
    rows: `
      select 'stage ' || stage_id || '.' || stage_attempt as about,
        disk_spilled / greatest(1, input_bytes + shuffle_local_bytes + shuffle_remote_bytes + shuffle_write_bytes) as value,
        format('{} MB went to disk for want of memory', round(disk_spilled / 1e6, 1)) as says,
        json_object('disk_bytes', disk_spilled, 'memory_bytes', memory_spilled, 'tasks', tasks) as evidence
      from   spark_stages where disk_spilled > 0`,
  },
  {
    name: 'gc',
    formula: 'time in garbage collection / time in which tasks ran, of stages whose tasks ran for a second or more',
    rows: `
      select 'stage ' || stage_id || '.' || stage_attempt as about, jvm_gc_ms / executor_run_ms as value,
        format('{} s of {} s went into garbage collection', ${seconds('jvm_gc_ms')}, ${seconds('executor_run_ms')}) as says,
        json_object('gc_ms', jvm_gc_ms, 'run_ms', executor_run_ms) as evidence
      from   spark_stages where executor_run_ms >= 1000`,
  },
  {
    name: 'idle_cores',
    formula: '1 - time of tasks / (cores x time they were there)',
    rows: `
      select '' as about, 1 - least(1, (select sum(task_ms_total) from spark_stages) / ms) as value,
        format('{} cores were idle for {} % of the time', cores, ${percent('(1 - least(1, (select sum(task_ms_total) from spark_stages) / ms))')}) as says,
        json_object('cores', cores, 'core_ms', ms, 'task_ms', (select sum(task_ms_total) from spark_stages)) as evidence
      from   ${coreTime} where ms > 0 and exists (from spark_stages)`,
  },
  {
    name: 'driver_gap',
    formula: '(time of the application - time in which a job ran) / time of the application',
    rows: `
      with spans as (
        select epoch_ms(started_at) as from_ms, epoch_ms(coalesce(ended_at, (select last_event_at from spark_apps))) as to_ms
        from spark_jobs where started_at is not null
      ), ahead as (
        select *, max(to_ms) over (order by from_ms, to_ms rows between unbounded preceding and 1 preceding) as before_ms from spans
      ), busy as (
        select sum(greatest(0, to_ms - greatest(from_ms, coalesce(before_ms, from_ms)))) as ms,
          max(from_ms - before_ms) as longest_gap_ms from ahead
      )
      select '' as about, (duration_ms - least(ms, duration_ms)) / nullif(duration_ms, 0) as value,
        format('no job ran for {} s of {} s', ${seconds('(duration_ms - least(ms, duration_ms))')}, ${seconds('duration_ms')}) as says,
        json_object('duration_ms', duration_ms, 'busy_ms', ms, 'longest_gap_ms', greatest(0, coalesce(longest_gap_ms, 0))) as evidence
      from   busy, spark_apps where jobs > 0`,
  },
  {
    name: 'critical_path',
    formula:
      'time of a job of a second or more / what it would take at best: the larger of the longest tasks along its stages, and the time of its tasks / cores',
    rows: `
      with ideal as (
        select j.job_id, max(c.chain_ms) as chain_ms, sum(s.task_ms_total) / nullif((select cores from ${coreTime}), 0) as spread_ms
        from   job_stages j
        join   spark_stages s using (stage_id, stage_attempt)
        join   chains c using (stage_id, stage_attempt)
        group by 1
      )
      select 'job ' || job_id as about, duration_ms / greatest(1, chain_ms, spread_ms) as value,
        format('it took {} s, and could take {} s', ${seconds('duration_ms')}, ${seconds('greatest(chain_ms, coalesce(spread_ms, 0))')}) as says,
        json_object('duration_ms', duration_ms, 'critical_path_ms', chain_ms, 'spread_ms', round(spread_ms), 'ideal_ms', round(greatest(chain_ms, coalesce(spread_ms, 0)))) as evidence
      from   ideal join spark_jobs using (job_id)
      where  duration_ms >= 1000`,
  },
  {
    name: 'task_sizing',
    formula: 'median time of the tasks of a stage with 200 tasks or more, in milliseconds',
    below: true,
    rows: `
      select 'stage ' || stage_id || '.' || stage_attempt as about, task_ms_median as value,
        format('{} tasks take {} ms at the median: fewer and larger ones would do', tasks, task_ms_median) as says,
        json_object('tasks', tasks, 'median_ms', task_ms_median) as evidence
      from   spark_stages where tasks >= 200 and task_ms_median is not null`,
  },
  {
    name: 'root_cause',
    formula: 'failures with the same class and last line; the one that came first stands for what followed',
    rows: `
      with failures as (
        select *, reason || coalesce(' ' || error_class, '') as class,
          -- Python says last what it was, Java first
          case when error_class like '%PythonException' then regexp_extract(rtrim(error_says, chr(10)), '([^\\n]*)$', 1)
            else string_split(coalesce(error_says, error, ''), chr(10))[1] end as line
        from   tasks where ended and reason not in ('Success', 'TaskKilled', 'TaskCommitDenied', 'Resubmitted')
      ), kinds as (
        -- numbers in a message are of one task, not of what was wrong
        select class, regexp_replace(line, '[0-9]+', 'N', 'g') as kind, arg_min(line, finished_ms) as line, count(*) as n,
          min(finished_ms) as first_ms, list(distinct stage_id order by stage_id)[1:20] as stages,
          list(distinct executor order by executor)[1:20] as executors, list(distinct host order by host)[1:20] as hosts,
          arg_min(task_id, finished_ms) as first_task
        from failures group by all
      )
      select class || ': ' || left(kind, 200) as about, n as value,
        format('{} tasks failed with {}{}', n, left(line, 300), case when first_ms = min(first_ms) over () then ', which came first' else '' end) as says,
        json_object('first', first_ms = min(first_ms) over (), 'first_ms', first_ms, 'first_task', first_task, 'stages', stages,
          'executors', executors, 'hosts', hosts) as evidence
      from kinds`,
  },
]

/**
 * The longest tasks along the stages that lead to a stage, itself among them: begun with its own, and carried on from
 * its parents until nothing changes.
 */
export const chainsBegun = `
  create or replace temp table chains as
  select stage_id, stage_attempt, coalesce(task_ms_max, 0) as own_ms, coalesce(task_ms_max, 0) as chain_ms,
    from_json(parent_ids, '["integer"]') as parents
  from   spark_stages`
export const chainsCarried = `
  update chains c
  set    chain_ms = c.own_ms + p.chain_ms
  from   (
    select k.stage_id, k.stage_attempt, max(o.chain_ms) as chain_ms
    from   (select stage_id, stage_attempt, unnest(parents) as parent from chains) k
    join   chains o on o.stage_id = k.parent
    group by all
  ) p
  where  c.stage_id = p.stage_id and c.stage_attempt = p.stage_attempt and c.chain_ms < c.own_ms + p.chain_ms`

/** The table of findings, of an application whose other tables are there. */
export function findingsTable(app: { appId: string; attempt: string }, thresholds: Thresholds): string {
  const text = (value: string): string => `'${value.replaceAll("'", "''")}'`
  const parts = findings.map(({ name, formula, rows, below }) => {
    const threshold = thresholds[name]
    const worse = below === true ? `value < ${threshold} / 2` : `value >= ${threshold} * 2`
    return `
      select ${text(name)} as finding, about, case when ${worse} then 'high' else 'medium' end as severity,
        value::double as value, ${threshold}::double as threshold, replace(says, chr(0), '') as says,
        ${text(formula)} as formula, regexp_replace(evidence::varchar, '\\\\u0000', '', 'g') as evidence
      from (${rows})
      where value ${below === true ? '<' : '>='} ${threshold}`
  })
  return `
    create or replace temp table spark_findings as
    select ${text(app.appId)} as app_id, ${text(app.attempt)} as attempt, * from (${parts.join('\nunion all\n')})`
}
