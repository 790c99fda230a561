import { files, pipeline, type System, table } from 'millrace'
import { archiveIn, archiveSettings } from '../archive.ts'
import { columns } from './columns.ts'
import { generator } from './generate.ts'
import { charts, routes } from './results.ts'

export const userActivity: System = {
  name: 'user-activity',
  says: 'Views and purchases from CSV files into the table user_activity, with a view of what was wrong and an archive.',
  settings: {
    USER_ACTIVITY_DIR: {
      type: 'folder',
      default: 'user-activity',
      says: 'folder of user-activity: files dropped into input/ are read, then archived; bad rows go to error/',
    },
    ...archiveSettings,
  },
  plan: (settings) =>
    pipeline('user-activity')
      .from(
        files(`${settings['USER_ACTIVITY_DIR']}/input`, {
          format: 'csv',
          columns,
        }),
      )
      .check(
        'PURCHASE_OF_NOTHING',
        (row) => row.event_type.differsFrom('purchase').or(row.quantity.isPresent().and(row.quantity.atLeast(1))),
        { message: 'a purchase has a quantity of 1 or more', column: 'quantity' },
      )
      .check(
        'VIEW_WITH_QUANTITY',
        (row) => row.event_type.differsFrom('view').or(row.quantity.isNull()).or(row.quantity.equals(0)),
        { message: 'a view has no quantity, or 0', column: 'quantity' },
      )
      .into(table('user_activity', { oncePer: 'event_id' })).plan,
  migrations: new URL('./migrations/', import.meta.url),
  quarantine: (settings) => `${settings['USER_ACTIVITY_DIR']}/error`,
  archive: (settings) => archiveIn(`${settings['USER_ACTIVITY_DIR']}/archive`, settings),
  generate: generator,
  routes,
  charts,
}
