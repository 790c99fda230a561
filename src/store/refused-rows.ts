/** Which rows of a sink a table does not take: each is named, with the words of the database. */
import { Readable } from 'node:stream'
import { pipeline as pump } from 'node:stream/promises'
import { from as copyFrom } from 'pg-copy-streams'
import { identifier } from '../plan/identifier.ts'
import type { TableStep } from '../plan/plan.ts'
import type { Client } from './connection.ts'
import { bytesOf } from './csv-rows.ts'
import { updateSql } from './merge-sql.ts'
import type { CsvRows, RefusedRow, SinkRows } from './store.ts'

/** Tries the rows in the table, halving them around those that are refused until these stand alone, and takes all back. */
export async function refusedRows(client: Client, sink: SinkRows): Promise<RefusedRow[]> {
  const { step } = sink
  const refused: RefusedRow[] = []
  const tried = identifier('pg_temp', `tried ${step.id}`)
  const columns = step.columns.map(({ name }) => identifier(name))
  await client.query(`
    create temp table if not exists ${identifier(`tried ${step.id}`)} (
      _n bigint primary key,
      ${columns.map((name) => `${name} text`).join(',\n      ')}
    ) on commit delete rows`)
  const into = client.query(copyFrom(`copy ${tried} (_n, ${columns.join(', ')}) from stdin (format csv)`))
  await pump(Readable.from(numberedRows(sink, refused)), into)
  await client.query(`analyze ${tried}`)
  await client.query(refusedRowsFunction)
  const types = await typesOf(client, step)
  const values = step.columns.map(({ name }) => `${identifier(name)}::${types.get(name)}`)
  const conflict = step.mode.is === 'append' ? '' : `on conflict (${namesOf(step.mode.key)}) ${updateSql(step)}`
  const insert = `
    insert into ${identifier(...step.table.split('.'))} (${columns.join(', ')})
    select ${values.join(', ')}
    from   ${tried}
    where  _n between $1 and $2
    order by _n
    ${conflict}`
  const { rows } = await client.query<{ n: number; state: string; message: string }>(
    `select n, state, message from pg_temp.refused_rows($1, (select max(_n) from ${tried}))`,
    [insert],
  )
  for (const { n, state, message } of rows) refused.push({ step: step.id, ordinal: n, sqlState: state, message })
  return refused
}

// The types by which texts are read: without their limits, which hold when the values come to the columns.
async function typesOf(client: Client, step: TableStep): Promise<Map<string, string>> {
  const { rows } = await client.query<{ name: string; type: string }>(
    `
    select attname as name, format_type(atttypid, -1) as type
    from   pg_attribute
    where  attrelid = $1::regclass and attnum > 0 and not attisdropped`,
    [identifier(...step.table.split('.'))],
  )
  return new Map(rows.map(({ name, type }) => [name, type]))
}

function namesOf(columns: string[]): string {
  return columns.map((name) => identifier(name)).join(', ')
}

// An error takes back what was done since the begin of its block, and leaves the variables as they are.
const refusedRowsFunction = `
create or replace function pg_temp.refused_rows(insert_range text, last bigint)
returns table (n bigint, state text, message text)
language plpgsql as $$
declare
  froms    bigint[] := array[0];
  tos      bigint[] := array[last];
  ns       bigint[];
  states   text[];
  messages text[];
  low      bigint;
  high     bigint;
begin
  begin
    while cardinality(froms) > 0 loop
      low := froms[cardinality(froms)];
      high := tos[cardinality(tos)];
      froms := trim_array(froms, 1);
      tos := trim_array(tos, 1);
      begin
        execute insert_range using low, high;
      exception
        -- as in isRowFault
        when cardinality_violation or data_exception or integrity_constraint_violation or program_limit_exceeded then
          if low < high then
            froms := froms || (low + (high - low) / 2 + 1) || low;
            tos := tos || high || (low + (high - low) / 2);
          else
            ns := ns || low;
            states := states || sqlstate::text;
            messages := messages || sqlerrm;
          end if;
      end;
    end loop;
    raise exception using errcode = 'MILLR', message = 'all rows have been tried';
  exception
    when sqlstate 'MILLR' then null;
  end;
  return query select * from unnest(ns, states, messages);
end $$`

// The rows of a sink's files with their numbers before them. One with a NUL cannot even be sent.
async function* numberedRows({ step, rows, fresh }: SinkRows, refused: RefusedRow[]): AsyncGenerator<Buffer> {
  let ordinal = 0
  for (const file of fresh ? [fresh, rows] : [rows]) {
    for await (const row of rowsOf(file)) {
      if (row.includes(0)) {
        const message = 'invalid byte sequence for encoding "UTF8": 0x00'
        refused.push({ step: step.id, ordinal, sqlState: '22021', message })
      } else yield Buffer.concat([Buffer.from(`${ordinal},`), row])
      ordinal++
    }
  }
}

// A line end in quotes ends no row.
async function* rowsOf(rows: CsvRows): AsyncGenerator<Buffer> {
  let rest: Buffer[] = []
  let quoted = false
  // as: without an encoding it reads bytes
  for await (const chunk of bytesOf(rows) as AsyncIterable<Buffer>) {
    let from = 0
    for (let i = 0; i < chunk.length; i++) {
      if (chunk[i] === quote) quoted = !quoted
      else if (chunk[i] === lineEnd && !quoted) {
        yield Buffer.concat([...rest, chunk.subarray(from, i + 1)])
        rest = []
        from = i + 1
      }
    }
    if (from < chunk.length) rest.push(chunk.subarray(from))
  }
}

const [quote, lineEnd] = Buffer.from('"\n')
