/** What can be asked of a Spark server before anything is run on it. */
import type { SparkFacts } from './machine.ts'

const waitMs = 3000

/** Errors: those of a server that does not answer. Without an address of a database it looks for the driver alone. */
export async function sparkFacts(remote: string, databaseUrl: string | undefined): Promise<SparkFacts> {
  // loaded where there is one
  const [{ SparkSession }, { checkServer, jdbcOptions }] = await Promise.all([
    import('../spark/connect.ts'),
    import('../spark/run.ts'),
  ])
  await using session = await SparkSession.open({ remote, waitMs })
  const [zone] = await session.rows<{ zone: string }>('select current_timezone() as zone')
  const why = async (ask: Promise<unknown>): Promise<unknown> =>
    await ask.then(
      () => undefined,
      (error: unknown) => error,
    )
  const options = jdbcOptions(databaseUrl ?? 'postgresql://nobody@127.0.0.1:1/none')
  return {
    version: await session.version(),
    unfit: await why(checkServer(session)),
    timeZone: zone?.zone ?? '',
    noDatabase: await why(session.readJdbc({ ...options, query: 'select 1 as one' })),
    hasKafka: await session.knowsFormat('kafka'),
  }
}
