/** Rows of sample data from a seed: good ones, ones that break a rule, and ones that were sent before. */
import type { Faker, Randomizer } from '@faker-js/faker'
import type { GenerateRequest } from 'millrace'
import type { Rows } from './sample-files.ts'
import type { Portion } from './sample-pace.ts'

/** The fields in the order of the header. */
export type Row = string[]

/** What the visitors of a system do, as rows. */
export interface Visits {
  /** The next step of somebody's visit, at this time. */
  step(timeMs: number): Row
  /** A step of nobody's visit. */
  passerBy(timeMs: number): Row
  /** Each breaks one rule, so that every reason for a dead letter is met. */
  faults: ((row: Row) => Row)[]
  /** Where the time of the event stands. */
  timeColumn: number
}

const rowsRemembered = 10_000

export async function openRows(
  { seed, badPercent, duplicatePercent }: GenerateRequest,
  open: (faker: Faker, random: Randomizer) => Visits,
): Promise<Rows> {
  // Loaded here, for it takes 0.2 s and only this verb needs it.
  const { Faker, en, generateMersenne53Randomizer } = await import('@faker-js/faker')
  const random = generateMersenne53Randomizer(seed)
  const faker = new Faker({ locale: en, randomizer: random })
  const { step, passerBy, faults, timeColumn } = open(faker, random)
  const recent: Row[] = []
  let goodRows = 0

  function next({ events, firstMs, stepMs }: Portion) {
    const lines: string[] = []
    const counts = { events, bad: 0, duplicates: 0 }
    for (let i = 0; i < events; i++) {
      const timeMs = firstMs + i * stepMs
      const chance = random.next() * 100
      let row: Row
      if (chance < badPercent) {
        // Not a step of a visit: it never lands, and a visit could be left without its beginning.
        const fault = faker.helpers.arrayElement(faults)
        row = fault(passerBy(timeMs))
        counts.bad++
      } else if (chance < badPercent + duplicatePercent && goodRows > 0) {
        // The sender stamps what it sends again with the time of sending, so that one can see which of the two was kept.
        row = faker.helpers.arrayElement(recent).with(timeColumn, isoTime(timeMs))
        counts.duplicates++
      } else {
        row = step(timeMs)
        recent[goodRows++ % rowsRemembered] = row
      }
      lines.push(row.join(','))
    }
    return { text: `${lines.join('\n')}\n`, ...counts }
  }
  return { next }
}

/** The steps of some visitors who are there at the same time, for ever. */
export function* traffic<Step>(faker: Faker, visit: () => Iterator<Step>): Generator<Step, never> {
  const visits = Array.from({ length: 32 }, visit)
  for (;;) {
    const i = faker.number.int(visits.length - 1)
    const step = visits[i]?.next()
    if (step?.done === false) yield step.value
    else visits[i] = visit()
  }
}

export function someUser(faker: Faker): string {
  return `user_${String(faker.number.int({ min: 1, max: 20_000 })).padStart(6, '0')}`
}

/** Products, of which some are looked at more often. */
export interface Catalogue<Product> {
  all: Product[]
  bestsellers: Product[]
}

export function catalogueOf<Product>(faker: Faker, make: (id: string) => Product): Catalogue<Product> {
  const all = Array.from({ length: 500 }, (_, i) => make(`prod_${String(i + 1).padStart(5, '0')}`))
  return { all, bestsellers: faker.helpers.arrayElements(all, 25) }
}

export function someProduct<Product>(faker: Faker, { all, bestsellers }: Catalogue<Product>): Product {
  return faker.helpers.arrayElement(faker.datatype.boolean(0.5) ? bestsellers : all)
}

export function isoTime(timeMs: number): string {
  return new Date(timeMs).toISOString()
}

/** Version 7: it begins with the time, so that the unique index of a table grows at its end. */
export function uuid(timeMs: number, random: Randomizer): string {
  // Six digits at a time: whole numbers of 31 bits are much faster to print than longer ones.
  const hex = (value: number) => Math.floor(value).toString(16).padStart(6, '0')
  const sixRandom = () => hex(random.next() * 0x1000000)
  const time = hex(timeMs / 0x1000000) + hex(timeMs % 0x1000000)
  const middle = sixRandom()
  return `${time.slice(0, 8)}-${time.slice(8)}-7${middle.slice(0, 3)}-8${middle.slice(3)}-${sixRandom()}${sixRandom()}`
}
