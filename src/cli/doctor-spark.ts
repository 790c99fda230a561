/** What doctor looks at on a Spark server, where one is named: whether it answers, what it is, and what it can reach. */
import type { Config } from '../config.ts'
import { MillraceError, messageOf } from '../errors.ts'
import { type Finding, found, ok } from './finding.ts'
import type { Machine, SparkFacts } from './machine.ts'

export async function* sparkServer({ spark, database }: Config, machine: Machine): AsyncGenerator<Finding> {
  if (spark.remote === undefined) return
  const url = spark.databaseUrl ?? database?.url
  let facts: SparkFacts
  try {
    facts = await machine.spark(spark.remote, url)
  } catch (error) {
    yield found('SPARK_UNREACHABLE', oneLine(error))
    return
  }
  if (facts.unfit !== undefined) {
    yield found('SPARK_UNFIT', oneLine(facts.unfit))
    return
  }
  yield ok('spark', `version ${facts.version} answers`)
  if (!/^(Etc\/)?(UTC|Z|GMT)$/.test(facts.timeZone))
    yield found('SPARK_TIME_ZONE', `its time zone is ${facts.timeZone}`)
  const why = facts.noDatabase === undefined ? '' : oneLine(facts.noDatabase)
  if (/ClassNotFoundException|JDBC_DRIVER|org\.postgresql\.Driver/.test(why))
    yield found('SPARK_NO_JDBC', 'it has no driver for Postgres')
  // the embedded Postgres is only there while something runs
  else if (url !== undefined && why !== '') yield found('SPARK_NO_DATABASE', why)
  else if (url !== undefined) yield ok('spark', 'it reaches the database')
  if (!facts.hasKafka) yield found('SPARK_NO_KAFKA', 'it has no connector to Kafka')
}

function oneLine(error: unknown): string {
  return (error instanceof MillraceError ? error.message : messageOf(error)).split('\n')[0] ?? ''
}
