/** How a pipeline says what is in a file, for sources and sinks alike. */
import type { FileFormat } from '../plan/plan.ts'

/** How the files are written. CSV and JSON lines may be packed with gzip or zstd. */
export type FormatOptions =
  | {
      format: 'csv'
      /** One character; a comma when left out. */
      delimiter?: string
      /** One character, doubled within a field; `"` when left out. */
      quote?: string
      /** `false`: there is no header, and the fields are the columns in their order. */
      header?: boolean
    }
  /** One object to a line; its keys are the columns, and what is nested in it is `json()`. */
  | { format: 'json lines' }
  | { format: 'parquet' }

export function formatOf(options: FormatOptions): FileFormat {
  switch (options.format) {
    case 'csv': {
      const { delimiter = ',', quote = '"', header = true } = options
      return { is: 'csv', delimiter, quote, ...(header ? {} : { header }) }
    }
    case 'json lines':
    case 'parquet':
      return { is: options.format }
  }
}
