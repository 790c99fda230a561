/**
 * The flyers bench in DuckDB, by hand: one file of events -> sessions in Parquet, two tables through CSV and `\copy`.
 *
 * usage: duckdb-flyers.ts <file> <postgres url> <scratch folder> <Parquet file for sessions>
 *
 * The tables flyer_time_per_user and merchant_flyer_daily are there. The last line on stdout is a JSON object.
 */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'

const started = performance.now()
const [input = '', url = '', scratch = '', sessions = ''] = process.argv.slice(2)
const [users, daily] = [join(scratch, 'users.csv'), join(scratch, 'daily.csv')]
const columns = `{'timestamp': 'timestamptz', 'user_id': 'varchar', 'event': 'varchar', 'flyer_id': 'varchar', 'merchant_id': 'varchar'}`
const events = input.endsWith('.parquet')
  ? `read_parquet('${input}')`
  : `read_csv('${input}', auto_detect = false, header = true, delim = ',', quote = '"', escape = '"', columns = ${columns})`

const instance = await DuckDBInstance.create(':memory:', {
  threads: '2',
  memory_limit: '4GB',
  temp_directory: join(scratch, 'temporary'),
  preserve_insertion_order: 'false',
})
const duck = await instance.connect()
await duck.run(`set TimeZone = 'UTC'`)

await duck.run(`
copy (
  with events as (
    select user_id, flyer_id, coalesce(merchant_id, '') as merchant_id, epoch_us("timestamp") as us, event = 'flyer_open' as opens
    from   ${events}
    where  event in ('flyer_open', 'flyer_close')
  ),
  near as (
    select *,
      lead(us) over line as next_us,
      lead(opens) over line as next_opens,
      lag(us) over line as last_us,
      lag(opens) over line as last_opens
    from events
    window line as (partition by user_id, flyer_id order by us)
  ),
  judged as (
    select *,
      case
        when not opens then 'orphan'
        when next_us is null or next_us - us > 86_400_000_000 then 'expired'
        when next_opens then 'replaced'
        else 'paired'
      end as outcome
    from  near
    where opens or not coalesce(last_opens and us - last_us <= 86_400_000_000, false)
  )
  select
    user_id,
    flyer_id,
    merchant_id,
    case when opens then make_timestamptz(us) end as opened_at,
    case outcome when 'paired' then make_timestamptz(next_us) when 'orphan' then make_timestamptz(us) end as closed_at,
    outcome,
    case when outcome = 'paired' then ((next_us - us)::decimal(18, 0) * 0.000001)::decimal(18, 6) end as seconds
  from judged
) to '${sessions}' (format parquet)`)

await duck.run(`
copy (
  select user_id, sum(seconds) as total_seconds, count(*) as sessions
  from   read_parquet('${sessions}')
  where  outcome = 'paired'
  group by user_id
) to '${users}' (format csv, header)`)

await duck.run(`
copy (
  select
    merchant_id,
    flyer_id,
    date_trunc('day', opened_at) as day,
    count(*) as opens,
    count(distinct user_id) as readers,
    count(seconds) as sessions,
    sum(seconds)::double / count(seconds) / 60 as mean_minutes,
    median(floor(seconds)::bigint) / 60 as median_minutes,
    count(*) filter (where outcome = 'expired') as expired,
    expired / opens as expired_share
  from  read_parquet('${sessions}')
  where outcome <> 'orphan'
  group by all
) to '${daily}' (format csv, header)`)

const landed = [
  `\\copy flyer_time_per_user (user_id, total_seconds, sessions) from '${users}' csv header`,
  `\\copy merchant_flyer_daily from '${daily}' csv header`,
]
execFileSync('psql', ['-X', '-q', '-v', 'ON_ERROR_STOP=1', ...landed.flatMap((text) => ['-c', text]), url])
process.stdout.write(`${JSON.stringify({ seconds: (performance.now() - started) / 1000 })}\n`)
