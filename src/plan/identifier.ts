/** The one place that quotes: a name for SQL, the same in DuckDB and Postgres. `public.events` names two things. */
export function identifier(...path: string[]): string {
  return path
    .map((name) => (/^[a-z_][a-z0-9_]*$/.test(name) && !reserved.has(name) ? name : `"${name.replaceAll('"', '""')}"`))
    .join('.')
}

// Words that neither engine takes as a bare column name; quoting one too many does no harm.
const reserved = new Set(
  `all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create
  current_catalog current_date current_role current_time current_timestamp current_user default deferrable desc
  describe distinct do else end except false fetch for foreign from grant group having in initially intersect into
  lambda lateral leading limit localtime localtimestamp not null offset on only or order over pivot placing primary
  qualify references returning row rows select session_user show some summarize symmetric system_user table then to
  trailing anti asof at authorization binary by collation concurrently cross freeze full glob ilike inner is isnull join
  left like natural notnull outer overlaps pivot_longer pivot_wider positional right semi similar tablesample unpack
  verbose true union unique unpivot user using variadic when where window with`
    .split(/\s+/)
    .filter(Boolean),
)

/** A text constant for SQL. Only for texts of the plan; values of users go as parameters. */
export function sqlText(value: string): string {
  return `'${value.replaceAll("'", "''")}'`
}
