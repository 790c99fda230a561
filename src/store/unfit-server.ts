/** Which servers and databases Millrace cannot work with. */
import { MillraceError } from '../errors.ts'
import type { Queries } from './connection.ts'

/** Why nothing can be stored there: the server is too old, or its database cannot hold every text. */
export async function unfitServer(client: Queries, place: string): Promise<MillraceError | undefined> {
  const { rows } = await client.query<{ version: number; encoding: string }>(
    `select current_setting('server_version_num')::int as version, current_setting('server_encoding') as encoding`,
  )
  const { version = 0, encoding = '' } = rows[0] ?? {}
  if (version < 150_000) {
    return new MillraceError('DATABASE_TOO_OLD', {
      at: place,
      message: `the server is Postgres ${Math.floor(version / 10_000)}; Millrace needs 15 or later`,
      hint: 'name a newer server in DATABASE_URL, or none at all: Millrace then starts one of its own',
    })
  }
  // of another encoding rows would be refused one by one, and SQL_ASCII keeps bytes that no text can be made of
  if (encoding !== 'UTF8') {
    return new MillraceError('DATABASE_ENCODING', {
      at: place,
      message: `the database is encoded in ${encoding}; Millrace needs UTF8`,
      hint: "make another one, and name it in DATABASE_URL: create database millrace encoding 'UTF8' locale 'C' template template0",
    })
  }
  return undefined
}
