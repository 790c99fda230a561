/** Waits until a worker stands at a fail point that delays it: nobody says so, but its session shows it. */
import { eventually, type Millrace } from './process.ts'
import type { World } from './world.ts'

/** Waits until the worker's batch is in an open transaction in which nothing happens. */
export async function standsInTransaction(world: World, worker: Millrace): Promise<void> {
  await standsStill(world, worker, { open: true })
}

/** Waits until nothing happens in the worker's session, in a transaction or not, and perhaps until so many batches are there. */
export async function standsStill(
  world: World,
  worker: Millrace,
  { open, batches }: { open: boolean; batches?: number },
): Promise<void> {
  let seen: unknown
  await eventually(
    async () => {
      if (worker.end !== undefined) throw new Error(worker.story())
      const [now] = await world
        .sql<{ open: boolean; quiet: boolean; batch: number }>(
          `
          select a.state = 'idle in transaction' as open,
                 a.state_change < clock_timestamp() - interval '300 ms' as quiet,
                 (select batch from millrace.pipelines where pipeline = 'shop-events') as batch
          from   pg_stat_activity a
          where  a.datname = current_database() and a.application_name = 'millrace shop-events' and a.state like 'idle%'`,
        )
        // the schema may not be there yet, or the server not up yet
        .catch(() => [])
      seen = now
      return now?.quiet === true && now.open === open && (batches === undefined || now.batch === batches)
    },
    { what: () => `the worker stands still (${JSON.stringify(seen)}): ${worker.story()}`, withinMs: 60_000 },
  )
}
