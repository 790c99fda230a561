/** The projection in docs/explanation/a-trillion-events.md is what its measured numbers come to. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

const page = readFileSync(join(import.meta.dirname, '../docs/explanation/a-trillion-events.md'), 'utf8')

/** The cells behind the one a row of a table begins with. */
function cells(label: string): string[] {
  const row = page.split('\n').find((line) => line.split('|')[1]?.trim() === label) ?? assert.fail(`no row "${label}"`)
  return row
    .split('|')
    .slice(2, -1)
    .map((cell) => cell.trim())
}

const number = (text = ''): number => Number(text.replaceAll(',', '').replace(/ .*/, ''))
const measured = (label: string): number => number(cells(label)[1])
const said = (pattern: RegExp): number => number(pattern.exec(page)?.[1] ?? assert.fail(String(pattern)))

test('a byte of each event is a terabyte of a trillion', () => {
  for (const label of [
    'input read, twice',
    'shuffled for pairs',
    'shuffled for the totals',
    'pairs kept on disk',
    'pairs read back',
    'written as Parquet',
  ])
    assert.equal(cells(label)[2], `${(measured(label) / 1e6).toFixed(1)} B`, label)
  const shuffled = measured('shuffled for pairs') + measured('shuffled for the totals')
  const projected: [string, number][] = [
    ['input', measured('input read, twice') / 2],
    ['shuffled', shuffled],
    ["kept on executors' disks", measured('pairs kept on disk')],
    ['read back from there', measured('pairs read back')],
  ]
  for (const [label, bytes] of projected) assert.equal(cells(label)[0], `${(bytes / 1e6).toFixed(1)} TB`, label)
  assert.equal(measured('pairs read back'), 4 * measured('pairs kept on disk'))
})

test('hours, disks and dollars follow from the processor time and the published price', () => {
  const micros = said(/([\d.]+) µs for each event/)
  const hours = (micros * 1e6) / 3600
  assert.equal(cells('processor time')[0], `${Math.round(hours).toLocaleString('en-US')} h`)
  const processors = 40 * 16
  assert.equal(said(/÷ 640 = ([\d.]+) hours/), Number((hours / processors).toFixed(1)))
  assert.equal(said(/take ([\d.]+) hours and cost the same/), Number((hours / processors / 5).toFixed(1)))
  const price = 97 / ((5378 / 3600) * processors)
  assert.equal(said(/are ([\d.]+) dollars for each processor and hour/), Number(price.toFixed(3)))
  const dollars = Math.round(hours * price)
  assert.equal(said(/\*\*([\d,]+) dollars\*\*/), dollars)
  assert.equal(number(cells('this projection')[1]), dollars)
  const shuffled = number(cells('shuffled')[0])
  assert.equal(number(cells('this projection')[2]), Number((dollars / shuffled).toFixed(2)))
  assert.equal(said(/at CloudSort's price, would be (\d+) dollars/), Math.round(shuffled * 0.97))
  assert.equal(
    said(/= ([\d.]+) TB of 150 TB/),
    Number((shuffled + number(cells("kept on executors' disks")[0])).toFixed(1)),
  )
})
