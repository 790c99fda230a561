/** Sample traffic as an operations team sees it: visitors who view products, and buy some of them in some number. */
import type { Faker, Randomizer } from '@faker-js/faker'
import type { GenerateRequest, GenerateSummary, Generator as SampleGenerator } from 'millrace'
import { type Samples, writeSamples } from '../sample-files.ts'
import type { Clock } from '../sample-pace.ts'
import {
  type Catalogue,
  catalogueOf,
  isoTime,
  openRows,
  type Row,
  someProduct,
  someUser,
  traffic,
  uuid,
  type Visits,
} from '../sample-rows.ts'

const columns = [
  'event_id',
  'user_id',
  'event_type',
  'product_id',
  'product_name',
  'category',
  'price',
  'quantity',
  'event_time',
]
const column = {
  event_id: 0,
  user_id: 1,
  event_type: 2,
  product_name: 4,
  price: 6,
  quantity: 7,
  event_time: 8,
} as const

const samples: Samples = {
  pipeline: 'user-activity',
  folder: 'USER_ACTIVITY_DIR',
  into: 'input',
  name: 'activity',
  columns,
  open: (request) => openRows(request, openShop),
}

export const generator: SampleGenerator = {
  says: 'visitors of a shop who view products and buy some, as CSV files in USER_ACTIVITY_DIR/input',
  run: (request) => generate(request),
}

export function generate(request: GenerateRequest, clock?: Clock): Promise<GenerateSummary> {
  return writeSamples(samples, request, clock)
}

// No field of a good row holds a comma or a quote, so none needs quoting. A passer-by views.
const faults: ((row: Row) => Row)[] = [
  // a negative price
  (row) => row.with(column.price, `-${row[column.price]}`),
  // a wrong type
  (row) => row.with(column.price, 'free'),
  (row) => row.with(column.price, `${row[column.price]}5`),
  (row) => row.with(column.quantity, 'two'),
  (row) => row.with(column.event_time, '31/12/2025 23:59'),
  // a missing field
  (row) => row.with(column.event_id, ''),
  (row) => row.with(column.user_id, ''),
  (row) => row.with(column.price, ''),
  // an unknown type of event
  (row) => row.with(column.event_type, 'refund'),
  // a quantity that does not fit the type
  (row) => row.with(column.event_type, 'purchase').with(column.quantity, '0'),
  (row) => row.with(column.quantity, '3'),
  // a malformed line
  (row) => row.slice(0, -1),
  (row) => [...row, 'web'],
  (row) => row.with(column.product_name, `"${row[column.product_name]}" new`),
]

interface Product {
  id: string
  name: string
  category: string
  price: string
}

interface Step {
  user: string
  product: Product
  /** Undefined for a view. */
  bought?: number
}

function openShop(faker: Faker, random: Randomizer): Visits {
  const catalogue = catalogueOf(faker, (id) => ({
    id,
    name: faker.commerce.productName(),
    category: faker.commerce.department(),
    price: faker.commerce.price({ min: 1, max: 500 }),
  }))
  const steps = traffic(faker, () => visit(faker, catalogue))
  const rowOf = ({ user, product, bought }: Step, timeMs: number): Row => [
    uuid(timeMs, random),
    user,
    bought === undefined ? 'view' : 'purchase',
    product.id,
    product.name,
    product.category,
    product.price,
    bought === undefined ? '' : String(bought),
    isoTime(timeMs),
  ]
  return {
    step: (timeMs) => rowOf(steps.next().value, timeMs),
    passerBy: (timeMs) => rowOf({ user: someUser(faker), product: someProduct(faker, catalogue) }, timeMs),
    faults,
    timeColumn: column.event_time,
  }
}

/** One visitor: looks at some products, and buys one or more of what pleases. */
function* visit(faker: Faker, catalogue: Catalogue<Product>): Generator<Step, void> {
  const user = someUser(faker)
  for (let looks = faker.number.int({ min: 1, max: 8 }); looks > 0; looks--) {
    const product = someProduct(faker, catalogue)
    yield { user, product }
    if (faker.datatype.boolean(0.2)) yield { user, product, bought: faker.number.int({ min: 1, max: 4 }) }
  }
}
