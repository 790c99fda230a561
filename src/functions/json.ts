/** Values inside JSON, by a constant path. Each function takes only JSON of its own type: a number is no text. */
import { boolean, double, integer, json, text } from '../plan/columns.ts'
import type { Literal } from '../plan/expression.ts'
import { type ConstantArgument, define } from './define.ts'
import { sparkText } from './spark-type.ts'
import type { Value } from './value.ts'

type JsonValue<K extends 'text' | 'integer' | 'double' | 'boolean'> = (value: Value<'json'>, path: string) => Value<K>

const path: ConstantArgument = {
  constant: 'text',
  must: 'be a path like "$.a.b", "$.list[0]" or "$.\\"Job ID\\""',
  // No wildcards, and nothing in a quoted name that an engine could read otherwise.
  allows: (text) => /^\$(\.[A-Za-z_][A-Za-z0-9_]*|\."[A-Za-z0-9_ .:/-]+"|\[[0-9]{1,9}\])*$/.test(String(text)),
}

export const jsonText = define<JsonValue<'text'>>({
  name: 'jsonText',
  says: 'The text at a path of the JSON; null when there is none there, or something that is not a text.',
  args: ['json', path],
  result: text,
  nullable: () => true,
  duckdb: ([a, at]) => `(case json_type(${a}, ${at}) when 'VARCHAR' then json_extract_string(${a}, ${at}) end)`,
  spark: ([a], _, [, at]) => {
    const found = sparkFound(a, at)
    return `(case schema_of_variant(${found}) when 'STRING' then cast(${found} as string) end)`
  },
  examples: [
    { in: ['{"a":{"b":"x\\ny"}}', '$.a.b'], out: 'x\ny' },
    { in: ['{"Job ID":"7","a":[{"b":"é"}]}', '$.a[0].b'], out: 'é' },
    { in: ['{"Job ID":"7"}', '$."Job ID"'], out: '7' },
    { in: ['{"a":7}', '$.a'], out: null },
    { in: ['{"a":null}', '$.a'], out: null },
    { in: ['[]', '$.a'], out: null },
    { in: [null, '$.a'], out: null, types: [json, text] },
  ],
})

export const jsonInteger = define<JsonValue<'integer'>>({
  name: 'jsonInteger',
  says: 'The whole number at a path of the JSON; null when there is none there, or something else, or one of more than 64 bits.',
  args: ['json', path],
  result: integer,
  nullable: () => true,
  duckdb: ([a, at]) => {
    const found = `json_extract_string(${a}, ${at})`
    return (
      `(case json_type(${a}, ${at}) when 'BIGINT' then try_cast(${found} as bigint) ` +
      `when 'UBIGINT' then try_cast(${found} as bigint) ` +
      `when 'DOUBLE' then case when ${found}::double = trunc(${found}::double) then try_cast(${found}::double as bigint) end end)`
    )
  },
  spark: ([a], _, [, at]) => {
    const found = sparkFound(a, at)
    const number = `cast(${found} as double)`
    return (
      `(case when schema_of_variant(${found}) = 'BIGINT' then cast(${found} as bigint) ` +
      `when ${isSparkFraction(found)} and ${number} = rint(${number}) ` +
      `and ${number} >= -9223372036854775808D and ${number} < 9223372036854775808D then cast(${number} as bigint) end)`
    )
  },
  examples: [
    { in: ['{"a":-7}', '$.a'], out: -7 },
    { in: ['{"a":9007199254740993}', '$.a'], out: '9007199254740993' },
    { in: ['{"a":7.0}', '$.a'], out: 7 },
    { in: ['{"a":7.5}', '$.a'], out: null },
    { in: ['{"a":"7"}', '$.a'], out: null },
    { in: ['{"a":9223372036854775808}', '$.a'], out: null },
  ],
})

export const jsonDouble = define<JsonValue<'double'>>({
  name: 'jsonDouble',
  says: 'The number at a path of the JSON as the nearest double; null when there is none there, or something else.',
  args: ['json', path],
  result: double,
  nullable: () => true,
  duckdb: ([a, at]) =>
    `(case when json_type(${a}, ${at}) in ('BIGINT', 'UBIGINT', 'DOUBLE') then json_extract_string(${a}, ${at})::double end)`,
  spark: ([a], _, [, at]) => {
    const found = sparkFound(a, at)
    return `(case when schema_of_variant(${found}) = 'BIGINT' or ${isSparkFraction(found)} then cast(${found} as double) end)`
  },
  examples: [
    { in: ['{"a":0.1}', '$.a'], out: 0.1 },
    { in: ['{"a":12}', '$.a'], out: 12 },
    { in: ['{"a":1e3}', '$.a'], out: 1000 },
    { in: ['{"a":"0.1"}', '$.a'], out: null },
    { in: ['{"a":true}', '$.a'], out: null },
  ],
})

export const jsonBoolean = define<JsonValue<'boolean'>>({
  name: 'jsonBoolean',
  says: 'True or false as at a path of the JSON; null when neither is there.',
  args: ['json', path],
  result: boolean,
  nullable: () => true,
  duckdb: ([a, at]) =>
    `(case json_type(${a}, ${at}) when 'BOOLEAN' then json_extract_string(${a}, ${at}) = 'true' end)`,
  spark: ([a], _, [, at]) => {
    const found = sparkFound(a, at)
    return `(case schema_of_variant(${found}) when 'BOOLEAN' then cast(${found} as boolean) end)`
  },
  examples: [
    { in: ['{"a":true}', '$.a'], out: true },
    { in: ['[false]', '$[0]'], out: false },
    { in: ['{"a":1}', '$.a'], out: null },
    { in: ['{"a":"true"}', '$.a'], out: null },
  ],
})

export const jsonHas = define<(value: Value<'json'>, path: string) => Value<'boolean'>>({
  name: 'jsonHas',
  says: 'Whether there is something at a path of the JSON, be it a null of JSON.',
  args: ['json', path],
  result: boolean,
  duckdb: ([a, at]) => `json_exists(${a}, ${at})`,
  spark: ([a], _, [, at]) => `(case when ${a} is not null then ${sparkFound(a, at)} is not null end)`,
  examples: [
    { in: ['{"a":null}', '$.a'], out: true },
    { in: ['{"a":1}', '$.b'], out: false },
    { in: ['[1]', '$[1]'], out: false },
    { in: [null, '$.a'], out: null, types: [json, text] },
  ],
})

// What is at the path, as a variant: JSON is a text to Spark until it is looked into.
function sparkFound(json: string | undefined, at: Literal['literal'] | undefined): string {
  const path = String(at).replace(/\."([^"]*)"/g, "['$1']")
  return `try_variant_get(try_parse_json(${json}), ${sparkText(path)}, 'variant')`
}

function isSparkFraction(found: string): string {
  return `(schema_of_variant(${found}) = 'DOUBLE' or schema_of_variant(${found}) like 'DECIMAL%')`
}
