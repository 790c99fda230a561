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
