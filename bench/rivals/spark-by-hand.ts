/**
 * SQL sent to a Spark Connect server, statement after statement, and nothing else: what somebody does who has the SQL.
 *
 * usage: node spark-by-hand.ts <remote> <file of statements, as a JSON array of texts>
 *
 * The last line on stdout is a JSON object.
 */
import { readFile } from 'node:fs/promises'
import { SparkSession } from '../../src/spark/connect.ts'

const [remote = '', path = ''] = process.argv.slice(2)
// as: the bench has just written it
const statements = JSON.parse(await readFile(path, 'utf8')) as string[]
const started = performance.now()
{
  await using session = await SparkSession.open({ remote })
  // what a select says, or nothing
  for (const statement of statements) await session.rows(statement)
}
process.stdout.write(`${JSON.stringify({ seconds: (performance.now() - started) / 1000 })}\n`)
