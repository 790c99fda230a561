/** Sample traffic of a shop: visitors who look at products, put some in a cart, and sometimes buy. */
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

const columns = ['event_id', 'user_id', 'event_type', 'product_id', 'price', 'event_timestamp']
const column = { event_id: 0, event_type: 2, price: 4, event_timestamp: 5 } as const

const samples: Samples = {
  pipeline: 'shop-events',
  folder: 'SHOP_EVENTS_DIR',
  into: 'raw',
  name: 'events',
  columns,
  open: (request) => openRows(request, openShop),
}

export const generator: SampleGenerator = {
  says: 'visitors of a shop who view products, add some to a cart and buy some, as CSV files in SHOP_EVENTS_DIR/raw',
  run: (request) => generate(request),
}

export function generate(request: GenerateRequest, clock?: Clock): Promise<GenerateSummary> {
  return writeSamples(samples, request, clock)
}

// No field holds a comma or a quote, so none needs quoting.
const faults: ((row: Row) => Row)[] = [
  (row) => row.with(column.event_id, ''),
  (row) => row.with(column.event_type, 'refund'),
  (row) => row.with(column.price, `-${row[column.price]}`),
  (row) => row.with(column.price, `${row[column.price]}5`),
  (row) => row.with(column.price, 'free'),
  (row) => row.with(column.event_timestamp, '31/12/2025 23:59'),
  (row) => row.slice(0, -1),
  (row) => [...row, 'web'],
]

interface Product {
  id: string
  price: string
}

interface Step {
  user: string
  type: 'view' | 'add_to_cart' | 'purchase'
  product: Product
}

function openShop(faker: Faker, random: Randomizer): Visits {
  const catalogue = catalogueOf(faker, (id) => ({ id, price: faker.commerce.price({ min: 1, max: 500 }) }))
  const steps = traffic(faker, () => visit(faker, catalogue))
  const rowOf = ({ user, type, product }: Step, timeMs: number): Row => [
    uuid(timeMs, random),
    user,
    type,
    product.id,
    product.price,
    isoTime(timeMs),
  ]
  return {
    step: (timeMs) => rowOf(steps.next().value, timeMs),
    passerBy: (timeMs) =>
      rowOf({ user: someUser(faker), type: 'view', product: someProduct(faker, catalogue) }, timeMs),
    faults,
    timeColumn: column.event_timestamp,
  }
}

/** One visitor: looks at some products, puts some of them in the cart, and buys the cart or leaves it. */
function* visit(faker: Faker, catalogue: Catalogue<Product>): Generator<Step, void> {
  const user = someUser(faker)
  const cart: Product[] = []
  for (let looks = faker.number.int({ min: 1, max: 6 }); looks > 0; looks--) {
    const product = someProduct(faker, catalogue)
    yield { user, type: 'view', product }
    if (faker.datatype.boolean(0.2)) yield { user, type: 'view', product }
    if (faker.datatype.boolean(0.3)) {
      cart.push(product)
      yield { user, type: 'add_to_cart', product }
    }
  }
  if (faker.datatype.boolean(0.45)) for (const product of cart) yield { user, type: 'purchase', product }
}
