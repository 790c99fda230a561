import { decimal, files, folder, oneOf, pipeline, type System, table, text, timestamp } from 'millrace'
import { archiveIn, archiveSettings } from '../archive.ts'
import { generator } from './generate.ts'
import { charts, routes } from './results.ts'

export const shopEvents: System = {
  name: 'shop-events',
  says: 'E-commerce events from CSV files into the table user_events, each event_id once.',
  settings: {
    SHOP_EVENTS_DIR: {
      type: 'folder',
      default: 'shop-events',
      says: 'folder of shop-events: files dropped into raw/ are read, bad rows go to error/',
    },
    SHOP_EVENTS_PROCESSED: {
      type: 'text',
      default: 'off',
      choices: ['off', 'parquet'],
      says: 'parquet: landed rows are also written to processed/<day>/, one file a batch',
    },
    SHOP_EVENTS_ARCHIVE: {
      type: 'switch',
      default: 'off',
      says: 'done files of shop-events move to archive/, as the ARCHIVE_ variables say',
    },
    ...archiveSettings,
  },
  plan: (settings) => {
    const landed = pipeline('shop-events')
      .from(
        files(`${settings['SHOP_EVENTS_DIR']}/raw`, {
          format: 'csv',
          columns: {
            event_id: text().notEmpty(),
            user_id: text().notEmpty(),
            event_type: oneOf('view', 'add_to_cart', 'purchase'),
            product_id: text().notEmpty(),
            price: decimal(12, 2).atLeast(0),
            event_timestamp: timestamp(),
          },
        }),
      )
      .into(table('user_events', { oncePer: 'event_id' }))
    if (settings['SHOP_EVENTS_PROCESSED'] === 'off') return landed.plan
    return landed.into(folder(`${settings['SHOP_EVENTS_DIR']}/processed`, { format: 'parquet', rows: 'landed' })).plan
  },
  migrations: new URL('./migrations/', import.meta.url),
  quarantine: (settings) => `${settings['SHOP_EVENTS_DIR']}/error`,
  archive: (settings) =>
    settings['SHOP_EVENTS_ARCHIVE'] === true
      ? archiveIn(`${settings['SHOP_EVENTS_DIR']}/archive`, settings)
      : undefined,
  generate: generator,
  routes,
  charts,
}
