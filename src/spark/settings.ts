/** What every session is told, so that Spark means by a plan what DuckDB does. */
export const sessionSettings = {
  'spark.sql.session.timeZone': 'UTC',
  // what cannot be computed is an error, and not a null nobody asked for
  'spark.sql.ansi.enabled': 'true',
  // a product of decimals keeps all its decimals, or has no result
  'spark.sql.decimalOperations.allowPrecisionLoss': 'false',
  'spark.sql.legacy.timeParserPolicy': 'CORRECTED',
  // the texts of JSON as they were written, numbers among them
  'spark.sql.json.enableExactStringParsing': 'true',
  // a key that comes twice is a fault of its own, which is looked for
  'spark.sql.variant.allowDuplicateKeys': 'true',
} as const

/** Has executors keep the rows of a view on their disks, once they were asked for; and has them let go of it again. */
export const keepSql = (view: string): string => `cache lazy table ${view} options ('storageLevel' 'DISK_ONLY')`
export const letGoSql = (view: string): string => `uncache table if exists ${view}`
