/** Wide JSON lines into a narrow table: what the bench `big` runs, written as a user would. */
import { decimal, files, integer, pipeline, table, text, timestamp } from 'millrace'

export default pipeline('wide')
  .from(
    files('wide', {
      format: 'json lines',
      columns: { id: integer(), user_id: text(), amount: decimal(12, 2), at: timestamp() },
      unknownColumns: 'count',
    }),
  )
  .into(table('wide'))
