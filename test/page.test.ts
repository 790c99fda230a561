/** The page in a real browser, from one build and one server for all: starting them for each part would take longer. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import type { Browser, Page } from 'playwright-core'
import { shopEvents } from '../pipelines/shop-events/pipeline.ts'
import { runSystem } from '../src/engine/system-run.ts'
import { createLog } from '../src/log.ts'
import { buildPageIfStale, pageFolder } from '../src/page/build.ts'
import { withReplays } from '../src/tasks/replay.ts'
import { runTasks } from '../src/tasks/runner.ts'
import { barriers, chromiumPath, launch, openTab, overflow, type Scheme, shoot } from './page/browser.ts'
import { hostileTexts } from './page/hostile-texts.ts'
import { type MockServer, openMockServer } from './page/mock-server.ts'
import { openServed } from './served.ts'
import { openTelemetraWork } from './served-telemetra.ts'

const executable = chromiumPath()
const skip = executable === undefined ? 'there is no Chromium on this machine: apt-get install chromium' : false
const sources = join(import.meta.dirname, '..', 'src', 'page')
let browser: Browser

before(async () => {
  await buildPageIfStale(createLog('error'))
  if (executable !== undefined) browser = await launch(executable)
})

after(async () => {
  if (executable !== undefined) await browser.close()
})

function inChromium(name: string, run: (context: TestContext) => Promise<void>): void {
  test(name, { skip }, run)
}

// ---- the build -----------------------------------------------------------------------------------------------------

test('no source of the page makes markup or code of a text', () => {
  const waysIn =
    /dangerouslySetInnerHTML|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc/
  const files = readdirSync(sources, { recursive: true, encoding: 'utf8' }).filter((path) => /\.tsx?$/.test(path))
  assert.ok(files.length > 20, 'the sources were not found')
  const wrong = files.filter((path) => waysIn.test(readFileSync(join(sources, path), 'utf8')))
  assert.deepEqual(wrong, [])
})

test('the page is less than 120 kB of packed JavaScript, without inline code, machine paths or source maps', () => {
  const assets = readdirSync(join(pageFolder, 'assets'))
  const scripts = assets.filter((name) => name.endsWith('.js'))
  const packed = scripts.reduce((sum, name) => sum + gzipSync(readFileSync(join(pageFolder, 'assets', name))).length, 0)
  assert.ok(scripts.length > 0 && packed < 120_000, `${packed} bytes packed`)
  const html = readFileSync(join(pageFolder, 'index.html'), 'utf8')
  assert.doesNotMatch(html, /<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=/)
  for (const name of assets) {
    assert.match(
      name,
      /-[\w-]{8}\.(js|css|svg|woff2)$|^fonts-licence\.txt$/,
      'its name does not change with its content',
    )
    if (!/\.(js|css)$/.test(name)) continue
    const content = readFileSync(join(pageFolder, 'assets', name), 'utf8')
    assert.doesNotMatch(content, /sourceMappingURL|node_modules\//, name)
    assert.ok(!content.includes(join(import.meta.dirname, '..')), `${name} has a path of this machine`)
  }
})

test('the page is built anew when its sources are others, and only then', async () => {
  const said: string[] = []
  const log = createLog('info', { write: (line) => said.push(line), readable: false })
  await buildPageIfStale(log)
  assert.deepEqual(said, [])
  writeFileSync(join(pageFolder, 'built-from'), 'other sources')
  await buildPageIfStale(log)
  assert.deepEqual(
    said.map((line) => JSON.parse(line).event),
    ['building the page', 'built the page'],
  )
  assert.ok(existsSync(join(pageFolder, 'index.html')))
})

// ---- every view, for everybody -------------------------------------------------------------------------------------

interface View {
  name: string
  hash: string
  /** What is there when the view is. */
  shows: string
  go?(page: Page): Promise<void>
}

const views: View[] = [
  { name: 'overview', hash: '#/', shows: 'user-activity needs a look.' },
  { name: 'pipeline', hash: '#/pipelines/shop-events', shows: 'A row becomes a dead letter when' },
  { name: 'pipeline-windowed', hash: '#/pipelines/user-activity?step=perMinute', shows: 'a window closes when' },
  {
    name: 'batches',
    hash: '#/pipelines/shop-events/batches',
    shows: 'Hold still',
    go: async (page) => {
      await page.locator('.fold').nth(2).click()
      await page.getByText('Where from').waitFor()
    },
  },
  { name: 'event-time', hash: '#/pipelines/user-activity/time', shows: 'behind the clock' },
  {
    name: 'event-time-of-files',
    hash: '#/pipelines/shop-events/time',
    shows: '3 files wait, 1 in hand, about 32,000 rows',
  },
  {
    name: 'late-rows',
    hash: '#/pipelines/user-activity/late',
    shows: 'All their windows were closed',
    go: async (page) => {
      await page.getByRole('button', { name: '4 s', exact: true }).click()
      await page.getByText('The row as it was read').waitFor()
    },
  },
  { name: 'no-late-rows', hash: '#/pipelines/shop-events/late', shows: 'No late row' },
  { name: 'books', hash: '#/pipelines/shop-events/books', shows: 'They balance' },
  { name: 'books-on-spark', hash: '#/pipelines/user-activity/books', shows: 'on Spark, writing user_activity' },
  { name: 'files', hash: '#/pipelines/shop-events/files', shows: 'it begins like a ZIP archive' },
  { name: 'plan', hash: '#/pipelines/shop-events/plan', shows: 'The plan as data' },
  { name: 'dead-letters', hash: '#/dead-letters', shows: 'rows were refused' },
  { name: 'dead-letter', hash: '#/dead-letters?id=9000', shows: 'The row as it was read' },
  {
    name: 'replay',
    hash: '#/dead-letters?code=NOT_ONE_OF',
    shows: 'Replay all',
    go: async (page) => {
      await page.getByRole('button', { name: /^Replay all/ }).click()
      await page.getByText('Nothing has been changed yet').waitFor()
    },
  },
  {
    name: 'discard',
    hash: '#/dead-letters?id=9000',
    shows: 'The row as it was read',
    go: async (page) => await page.getByRole('button', { name: 'Discard…', exact: true }).click(),
  },
  { name: 'no-such-letters', hash: '#/dead-letters?code=NO_SUCH', shows: 'None like that' },
  { name: 'live', hash: '#/live', shows: 'Waiting for rows' },
  { name: 'tasks', hash: '#/tasks', shows: 'no such customer' },
  { name: 'results', hash: '#/results', shows: '34 % of those before' },
  { name: 'results-of-one', hash: '#/results/user-activity', shows: 'p99' },
  {
    name: 'results-marked',
    hash: '#/results/user-activity',
    shows: 'stalls',
    go: async (page) => await page.getByRole('img', { name: /^Latency in ms.*stalls: 3$/ }).waitFor(),
  },
  {
    name: 'results-of-a-thing',
    hash: '#/results/shop-events/product?product=sku-412',
    shows: 'There is nothing of it',
  },
  { name: 'nowhere', hash: '#/nowhere', shows: 'There is nothing here' },
]

for (const scheme of ['light', 'dark'] as const) {
  for (const width of [1440, 360]) {
    inChromium(`every view is without barriers and fits, ${scheme}, ${width} px`, async () => {
      await using mock = await openMockServer()
      const wrong: string[] = []
      for (const view of views) wrong.push(...(await look(mock, view, scheme, width)))
      assert.deepEqual(wrong, [])
    })
  }
}

async function look(
  mock: MockServer,
  { name, hash, shows, go }: View,
  scheme: Scheme,
  width: number,
): Promise<string[]> {
  const where = `${name}-${scheme}-${width}`
  await using tab = await openTab(browser, `${mock.url}/${hash}`, { width, scheme })
  const { page, complaints, strangers } = tab
  await page.getByText(shows).first().waitFor()
  if (name === 'live') {
    mock.commit('shop-events')
    await page.getByText('into user_events').waitFor()
  }
  await go?.(page)
  await page.evaluate('document.fonts.ready')
  await settled(page)
  await shoot(page, where)
  const over = await overflow(page)
  return [
    ...(await barriers(page, where)),
    ...(over > 0 ? [`${where}: ${over} px wider than the screen`] : []),
    ...[...complaints, ...strangers].map((said) => `${where}: ${said}`),
  ]
}

// Whatever was asked has been answered, and drawn.
async function settled(page: Page): Promise<void> {
  await page.locator('.loading').first().waitFor({ state: 'detached' })
  await page.locator('.plot:empty').first().waitFor({ state: 'detached' })
  await page.evaluate('new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))')
}

inChromium('the first paint comes within a second, with nothing but its own files', async () => {
  await using mock = await openMockServer()
  await using tab = await openTab(browser, mock.url)
  await tab.page.getByRole('heading', { name: 'shop-events' }).waitFor()
  const at = Number(await tab.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
  assert.ok(at > 0 && at < 1000, `${at} ms`)
})

inChromium('colours follow the system until somebody chooses, and the choice is kept', async () => {
  await using mock = await openMockServer()
  await using tab = await openTab(browser, mock.url, { scheme: 'dark' })
  const { page } = tab
  const ground = (): Promise<unknown> => page.evaluate('getComputedStyle(document.documentElement).backgroundColor')
  await page.getByRole('heading', { name: 'shop-events' }).waitFor()
  const dark = await ground()
  await page.getByRole('radio', { name: 'Light' }).check()
  const light = await ground()
  assert.notEqual(light, dark)
  await page.reload()
  assert.equal(await ground(), light)
  await page.getByRole('radio', { name: 'Auto' }).check()
  assert.equal(await ground(), dark)
})

inChromium('an empty server says what to do first', async () => {
  await using mock = await openMockServer({ letters: 0 })
  mock.pipelines.splice(0)
  mock.letters.splice(0)
  await using tab = await openTab(browser, mock.url)
  await tab.page.getByText('millrace init').waitFor()
  await shoot(tab.page, 'empty-overview')
  await tab.page.getByRole('link', { name: 'Dead letters' }).click()
  await tab.page.getByRole('heading', { name: 'No dead letters' }).waitFor()
  await shoot(tab.page, 'empty-dead-letters')
})

// ---- as it happens -------------------------------------------------------------------------------------------------

inChromium('what happens shows without a reload: rates, batches, rows, dead letters', async () => {
  await using mock = await openMockServer()
  await using tab = await openTab(browser, mock.url)
  const { page, complaints } = tab
  const card = page.locator('.pipeline-card', { hasText: 'shop-events' })
  await card.getByText('batch 1,042').waitFor()
  mock.commit('shop-events')
  await card.getByText('batch 1,043').waitFor()

  await page.goto(`${mock.url}/#/pipelines/shop-events/batches`)
  await page.getByRole('button', { name: '1,043' }).waitFor()
  mock.commit('shop-events')
  await page.getByRole('button', { name: '1,044' }).waitFor()
  await page.getByRole('button', { name: 'Hold still' }).click()
  mock.commit('shop-events')
  await page.getByText('batch 1,045').waitFor()
  assert.equal(await page.getByRole('button', { name: '1,045' }).count(), 0)

  await page.goto(`${mock.url}/#/live?pipeline=shop-events`)
  await page.getByText('Waiting for rows').waitFor()
  await page.locator('.sign-open').waitFor()
  mock.commit('shop-events', [['the-first', 'u1', 'view', 'p1', '1.00', null]])
  const rows = page.getByRole('table').locator('tbody tr')
  await rows.filter({ hasText: 'the-first' }).getByText('no value').waitFor()
  await page.getByRole('button', { name: 'Hold still' }).click()
  mock.commit('shop-events', [['the-second', 'u1', 'view', 'p1', '1.00', null]])
  await page.getByRole('link', { name: '1,047' }).waitFor()
  assert.equal(await rows.filter({ hasText: 'the-second' }).count(), 0)

  await page.goto(`${mock.url}/#/dead-letters`)
  const list = page.getByRole('listbox')
  await list.getByRole('option').first().waitFor()
  const first = await list.getByRole('option').first().getAttribute('id')
  for (let told = 0; told === 0; ) told = mock.commit('shop-events').dead
  await page.getByRole('button', { name: /^Show \d+ new$/ }).click()
  await page.locator(`.letter-row:first-child:not(#${first})`).waitFor()
  assert.deepEqual(complaints, [])
})

inChromium('the rates on the lines of the graph are those of the steps, and follow them', async () => {
  await using mock = await openMockServer()
  await using tab = await openTab(browser, `${mock.url}/#/pipelines/shop-events`)
  const rates = tab.page.locator('.edge-rate')
  await rates.first().waitFor()
  assert.equal(await rates.first().textContent(), '18,240/s')
  mock.commit('shop-events')
  const wanted = `${mock.pipelines[0]?.rows_per_second.toLocaleString('en')}/s`
  await rates.filter({ hasText: wanted }).first().waitFor()
  await tab.page.getByRole('link', { name: 'table table' }).click()
  await tab.page.getByText('on conflict (event_id) do nothing').waitFor()
})

inChromium('a server that restarts is waited for, and found again', async () => {
  await using stack = new AsyncDisposableStack()
  const mock = await openMockServer()
  await using tab = await openTab(browser, mock.url)
  const { page } = tab
  await page.getByRole('heading', { name: 'shop-events' }).waitFor()
  await mock[Symbol.asyncDispose]()
  await page.getByRole('alert').getByText('This page goes on by itself').waitFor()
  await page.getByText('Waiting', { exact: true }).waitFor()
  assert.ok(await page.getByRole('heading', { name: 'shop-events' }).isVisible(), 'what was known stays')
  await shoot(page, 'waiting-for-the-server')
  assert.deepEqual(await barriers(page, 'waiting for the server'), [])
  const again = stack.use(await openMockServer({ port: mock.port, seed: 8 }))
  again.commit('shop-events')
  await page.getByRole('alert').waitFor({ state: 'detached', timeout: 15_000 })
  await page.getByText('Live', { exact: true }).last().waitFor()
  again.commit('shop-events')
  await page.getByText('batch 1,044').waitFor()
})

inChromium('a view that was read before the restart is read again after it', async () => {
  await using stack = new AsyncDisposableStack()
  const mock = await openMockServer()
  await using tab = await openTab(browser, `${mock.url}/#/dead-letters`)
  await tab.page.getByText('10,400 rows were refused').waitFor()
  await mock[Symbol.asyncDispose]()
  await tab.page.getByRole('alert').waitFor()
  stack.use(await openMockServer({ port: mock.port, letters: 100 }))
  await tab.page.getByText('140 rows were refused').waitFor({ timeout: 15_000 })
})

inChromium('a token is asked for, kept for the tab, and sent with everything', async () => {
  await using mock = await openMockServer()
  mock.wantToken('secret')
  await using tab = await openTab(browser, mock.url)
  const { page } = tab
  const dialog = page.getByRole('dialog')
  await dialog.getByRole('button', { name: 'Close' }).click()
  await page.getByText('Without it there is nothing to show').waitFor()
  await page.getByRole('button', { name: 'Give a token' }).click()
  await dialog.getByLabel('Token', { exact: true }).fill('secret')
  await shoot(page, 'token')
  assert.deepEqual(await barriers(page, 'token'), [])
  await dialog.getByRole('button', { name: 'Use this token' }).click()
  await page.getByRole('heading', { name: 'shop-events' }).waitFor()
  await page.getByRole('link', { name: 'Results' }).click()
  await page.getByRole('heading', { name: 'Funnel' }).waitFor()
  assert.equal(await dialog.count(), 0)
  const [file] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('link', { name: 'CSV of Top products' }).click(),
  ])
  assert.equal(file.suggestedFilename(), 'top-products.csv')
  const metrics = page.getByRole('link', { name: 'Metrics' })
  const [opened] = await Promise.all([page.waitForEvent('popup'), metrics.click()])
  await opened.getByText('millrace_rows_total 7').waitFor()
  mock.wantToken('another')
  await metrics.click()
  await dialog.getByText('This server asks for a token').waitFor()
})

// ---- event time ----------------------------------------------------------------------------------------------------

inChromium('event time, lag by partition, state and late rows are told in words, and follow what happens', async () => {
  await using mock = await openMockServer()
  await using tab = await openTab(browser, `${mock.url}/#/pipelines/user-activity`)
  const { page, complaints } = tab
  // the distance of the watermark leads there
  await page.getByRole('link', { name: /^1\d\d s behind$/ }).click()
  const partitions = page.getByRole('region', { name: 'Partitions' })
  await partitions.getByText('user.activity').waitFor()
  assert.deepEqual(
    await partitions
      .locator('tbody tr')
      .filter({ has: page.locator('td') })
      .locator('td:nth-child(3)')
      .allTextContents(),
    ['0', '70,400', '58,000'],
  )
  const widths = await partitions.locator('.bar').evaluateAll((bars) => bars.map(({ style }) => style.width))
  // of no lag there is no bar
  assert.deepEqual([widths.length, widths[0]], [2, '100%'])
  const card = page.getByRole('region', { name: 'Event time', exact: true })
  await card.getByText(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/).waitFor()
  await card.getByText('18,240 rows').waitFor()
  await card.getByText('3.0 MB of open windows').waitFor()

  const [, pipeline] = mock.pipelines
  assert.ok(pipeline !== undefined)
  const facts = page.locator('.pipeline-strip')
  await facts.getByText('held up: nothing is lost').waitFor()
  assert.match((await facts.textContent()) ?? '', /To be published2,400/)
  Object.assign(pipeline, { outbox_rows: 12, publisher: { is: 'working', waiting: 12 } })
  mock.tell()
  await facts.getByText('messages', { exact: true }).waitFor()
  Object.assign(pipeline, { watermark: null, watermark_closed: true, state_rows: 0 })
  mock.tell()
  await card.getByText('Closed: nothing will follow').waitFor()
  await card.getByText('0 rows').waitFor()
  assert.doesNotMatch((await page.locator('main').textContent()) ?? '', /275760/)
  await shoot(page, 'event-time-closed')

  pipeline.lag = { ...pipeline.lag, rows: null, why: 'topic user.activity: no broker answers' }
  // the partitions are asked for anew: they are told with the details alone
  const again = page.waitForRequest((request) => request.url().endsWith('/api/pipelines/user-activity'))
  mock.tell()
  await again
  await page.getByText('How many rows wait is not known: topic user.activity: no broker answers.').waitFor()
  assert.deepEqual(complaints, [])
})

inChromium(
  'late rows are reached from their pipeline, read page by page with the keyboard, and taken away',
  async () => {
    await using mock = await openMockServer()
    await using tab = await openTab(browser, `${mock.url}/#/pipelines/user-activity/time`)
    const { page, complaints } = tab
    await page.getByRole('region', { name: 'Event time', exact: true }).getByRole('link').press('Enter')
    const rows = page.locator('.late tbody tr')
    await rows.first().waitFor()
    assert.equal(await rows.count(), 50)
    const [first] = mock.lateRows
    const cells = await rows.first().locator('td').allTextContents()
    const [at = '', from = ''] = [first?.event_time, first?.window_start ?? '']
    const written = (iso: string): string => iso.replace('T', ' ').slice(0, 19)
    assert.deepEqual(cells, ['4 s', written(at), written(from), 'perMinute', first?.place, '388'])
    for (const more of [100, 130]) {
      await page.getByRole('button', { name: /^Older late rows/ }).press('Enter')
      await rows.nth(more - 1).waitFor()
      assert.equal(await rows.count(), more)
    }
    assert.equal(await page.getByRole('button', { name: /^Older late rows/ }).count(), 0)
    const fold = page.getByRole('button', { name: '4 s', exact: true })
    await fold.press('Enter')
    assert.equal(await fold.getAttribute('aria-expanded'), 'true')
    await page.getByText('The row as it was read').waitFor()
    const [file] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('link', { name: 'CSV of late rows' }).click(),
    ])
    assert.equal(file.suggestedFilename(), 'user-activity-late-rows.csv')
    await page.goto(`${mock.url}/#/pipelines/shop-events/late`)
    await page.getByText('so no row can be').waitFor()
    assert.deepEqual(complaints, [])
  },
)

// ---- dead letters --------------------------------------------------------------------------------------------------

inChromium('a dead letter is mended, and replayed in three clicks with its dry run first', async () => {
  await using mock = await openMockServer()
  const letter = mock.letters.find(({ code, settled }) => code === 'BELOW_MINIMUM' && settled === null)
  assert.ok(letter !== undefined)
  await using tab = await openTab(browser, `${mock.url}/#/dead-letters?id=${letter.id}`)
  const { page } = tab
  assert.equal(await page.locator('mark').textContent(), letter.fields?.['price'])
  await page.getByLabel('price refused').fill('12.50')
  await page.getByRole('button', { name: 'Save the changes' }).click()
  await page.getByText('Saved. Replay sends it with these values.').waitFor()
  assert.equal(letter.fields?.['price'], '12.50')

  await page.getByRole('button', { name: 'Replay…', exact: true }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByText('would land').waitFor()
  assert.equal(letter.settled, null, 'the dry run settles nothing')
  await dialog.getByRole('button', { name: 'Replay 1' }).click()
  await dialog.getByText('landed').waitFor()
  await shoot(page, 'replayed')
  await dialog.getByRole('button', { name: 'Close' }).last().click()
  assert.equal(letter.settled, 'replayed')
  await page.getByText('Replayed just now').waitFor()
  assert.equal(await page.getByRole('button', { name: 'Replay…', exact: true }).count(), 0)
})

inChromium('many are replayed by what they have in common, with the same value for all', async () => {
  await using mock = await openMockServer({ letters: 700 })
  const some = mock.letters.filter(({ code }) => code === 'BELOW_MINIMUM')
  await using tab = await openTab(browser, `${mock.url}/#/dead-letters`)
  const { page } = tab
  await page.getByLabel('Code').selectOption('BELOW_MINIMUM')
  await page.getByRole('button', { name: `Replay all ${some.length}…` }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByText('would fail again').first().waitFor()
  await dialog.getByText('Give all of them the same value').click()
  assert.equal(await dialog.getByLabel('Column').inputValue(), 'price')
  await dialog.getByLabel('Value').fill('0.01')
  await dialog.getByRole('button', { name: 'See what it would do' }).click()
  await dialog.getByText('would land').waitFor()
  await dialog.getByRole('button', { name: `Replay ${some.length}` }).click()
  await dialog.getByText('landed').waitFor()
  await dialog.getByRole('button', { name: 'Close' }).last().click()
  assert.ok(some.every(({ settled }) => settled === 'replayed'))
  await page.getByText('None like that').waitFor()
})

inChromium(
  'nothing is asked about all of them before their list has come: a value could be given to no column',
  async () => {
    await using mock = await openMockServer({ letters: 300 })
    await using tab = await openTab(browser, mock.url)
    const { page } = tab
    const list = Promise.withResolvers<void>()
    await page.route(/\/api\/dead-letters\?/, async (route) => {
      await list.promise
      await route.continue()
    })
    await page.goto(`${mock.url}/#/dead-letters?code=EMPTY`)
    await page.getByText(/open dead letters are like that/).waitFor()
    assert.equal(await page.getByRole('button', { name: /^(Replay|Discard) all/ }).count(), 0)
    list.resolve()
    await page.getByRole('button', { name: /^Replay all/ }).click()
    await page.getByRole('dialog').getByText('Give all of them the same value').click()
    await page.getByRole('dialog').getByLabel('Column').selectOption('price')
  },
)

inChromium('many are discarded by what they have in common, with a reason', async () => {
  await using mock = await openMockServer({ letters: 300 })
  await using tab = await openTab(browser, `${mock.url}/#/dead-letters?code=EMPTY`)
  const { page } = tab
  const some = mock.letters.filter(({ code }) => code === 'EMPTY')
  await page.getByRole('button', { name: 'Discard all…' }).click()
  const dialog = page.getByRole('dialog')
  assert.ok(await dialog.getByRole('button', { name: 'Discard all' }).isDisabled(), 'it asks for a reason')
  await dialog.getByLabel('Reason').fill('known fault of the till')
  await dialog.getByRole('button', { name: 'Discard all' }).click()
  await dialog.getByText(`${some.length} dead letters discarded`).waitFor()
  assert.ok(
    some.every(({ settled, settled_by }) => settled === 'discarded' && settled_by === 'known fault of the till'),
  )
})

inChromium('more than 10,000 dead letters are scrolled through, with few of them in the page at a time', async () => {
  await using mock = await openMockServer()
  await using tab = await openTab(browser, `${mock.url}/#/dead-letters`)
  const { page } = tab
  const list = page.getByRole('listbox')
  await list.getByRole('option').first().waitFor()
  let most = 0
  for (let step = 0; step < 400; step++) {
    const before = await page.locator('.letter-room').evaluate(({ style }) => style.height)
    most = Math.max(most, await list.getByRole('option').count())
    await list.evaluate((box) => box.scrollTo(0, box.scrollHeight))
    if (Number.parseInt(before, 10) === 10_400 * 52) break
    await page.locator(`.letter-room:not([style*="height: ${before};"])`).waitFor({ state: 'attached' })
  }
  await list.evaluate((box) => box.scrollTo(0, box.scrollHeight))
  await page.locator('#letter-1').waitFor()
  assert.ok(most < 60, `${most} options in the page at once`)
  assert.equal(await page.locator('#letter-1').getAttribute('aria-posinset'), '10400')
})

inChromium('dead tasks are told with why they failed, and run again one by one or together', async () => {
  await using mock = await openMockServer()
  await using tab = await openTab(browser, `${mock.url}/#/tasks`, { width: 1440, scheme: 'light' })
  const { page } = tab
  await page.getByText('the bank does not answer').waitFor()
  await page.getByText('1 waiting, 1 running, 1 tried again, 2 dead').waitFor()
  await page
    .getByRole('row', { name: /no such customer/ })
    .getByRole('button', { name: 'Run again' })
    .click()
  await page.getByText('2 waiting, 1 running, 1 tried again, 1 dead').waitFor()
  await page.getByRole('button', { name: 'Run 1 dead task again' }).click()
  await page.getByText('3 waiting, 1 running, 1 tried again, 0 dead').waitFor()
  assert.equal(await page.getByRole('button', { name: /again/ }).count(), 0)
})

inChromium('the keyboard alone is enough: skip, go, choose, open, close', async () => {
  await using mock = await openMockServer()
  await using tab = await openTab(browser, mock.url)
  const { page } = tab
  await page.getByRole('heading', { name: 'shop-events' }).waitFor()
  const focused = (): Promise<unknown> => page.evaluate('document.activeElement.textContent')
  await page.keyboard.press('Tab')
  assert.equal(await focused(), 'Skip to the content')
  await page.keyboard.press('Enter')
  assert.equal(await page.evaluate('document.activeElement.id'), 'main')
  await page.keyboard.press('Tab')
  assert.equal(await focused(), 'user-activity')
  assert.notEqual(await page.evaluate('getComputedStyle(document.activeElement).outlineStyle'), 'none')

  await page.goto(`${mock.url}/#/dead-letters`)
  await page.getByRole('listbox').focus()
  await page.locator('.letter-row').first().waitFor()
  for (const key of ['ArrowDown', 'ArrowDown', 'PageDown', 'Home', 'ArrowDown', 'Enter']) await page.keyboard.press(key)
  await page.getByRole('heading', { name: 'The row as it was read' }).waitFor()
  assert.match(page.url(), new RegExp(`id=${mock.letters[1]?.id}`))
  await page.getByRole('button', { name: 'Replay…', exact: true }).press('Enter')
  await page.getByRole('dialog').waitFor()
  await page.keyboard.press('Escape')
  await page.getByRole('dialog').waitFor({ state: 'detached' })
  assert.match(String(await focused()), /^Replay…/, 'the focus is back where it was')
})

// ---- what strangers send -------------------------------------------------------------------------------------------

inChromium(
  `${hostileTexts.length} hostile texts are shown as texts, wherever a text of an event is shown`,
  async () => {
    assert.ok(hostileTexts.length >= 40)
    await using mock = await openMockServer({ letters: 60 })
    await using tab = await openTab(browser, `${mock.url}/#/dead-letters`)
    const { page, complaints, strangers } = tab
    await page.locator('.letter-row').first().waitFor()
    const before = await page.evaluate(
      "document.querySelectorAll('script, style, iframe, object, embed, link, base, meta').length",
    )
    for (const letter of mock.letters.filter(({ fields }) => hostileTexts.includes(fields?.['event_type'] ?? ''))) {
      const text = letter.fields?.['event_type'] ?? ''
      await page.goto(`${mock.url}/#/dead-letters?id=${letter.id}`)
      await page.getByText(`dead letter ${letter.id}`).waitFor()
      assert.equal(
        await page
          .getByLabel(/^event_type/)
          .first()
          .inputValue(),
        text,
      )
      const csv = text.includes('"') || text.includes(',') ? `"${text.replaceAll('"', '""')}"` : text
      const shown = csv.replaceAll('\u202e', 'U+202E').replaceAll('\u0000', 'NUL').replaceAll('\u2066', 'U+2066')
      assert.equal((await page.locator('mark').allTextContents()).join(''), shown)
    }

    await page.goto(`${mock.url}/#/live?pipeline=shop-events`)
    await page.getByText('Waiting for rows').waitFor()
    await page.locator('.sign-open').waitFor()
    mock.commit(
      'shop-events',
      hostileTexts.map((text) => [text, text, text, text, text, text]),
    )
    const landed = page.locator('.live-rows tbody tr')
    await landed.first().waitFor()
    assert.equal(await landed.count(), hostileTexts.length)
    assert.equal(await landed.last().locator('td').first().textContent(), hostileTexts[0])

    await page.goto(`${mock.url}/#/pipelines/user-activity/late`)
    const folds = page.locator('.late .fold')
    await folds.first().waitFor()
    for (const [index, { raw, place }] of mock.lateRows.slice(0, hostileTexts.length).entries()) {
      const fold = folds.nth(index)
      await fold.click()
      assert.ok((await page.locator('.late-place').nth(index).textContent()) === place)
      assert.equal(
        await page.locator('.late .raw-line').textContent(),
        raw.replace('\u202e', 'U+202E').replace('\u2066', 'U+2066'),
      )
      await fold.click()
    }

    await page.goto(`${mock.url}/#/results`)
    await page.getByText('<img src=x onerror=window.__pwned=1>').waitFor()
    await page.goto(`${mock.url}/#/pipelines/${encodeURIComponent(hostileTexts[0] ?? '')}`)
    await page.getByText(`There is no pipeline ${hostileTexts[0]}`).waitFor()

    assert.equal(await page.evaluate('window.__pwned'), undefined)
    const now = await page.evaluate(
      "document.querySelectorAll('script, style, iframe, object, embed, link, base, meta').length",
    )
    // the charts bring their library with them, as a module of our own
    assert.ok(Number(now) - Number(before) <= 2, `${before} elements that load something became ${now}`)
    assert.deepEqual(strangers, [])
    const refused = complaints.filter((text) => !text.includes('404'))
    assert.deepEqual(refused, [])
  },
)

inChromium(
  'a page of one thing is what its address says: values lead to it, and what is typed is kept there',
  async () => {
    await using mock = await openMockServer()
    await using tab = await openTab(browser, `${mock.url}/#/results/shop-events`)
    const { page } = tab
    await page.getByRole('link', { name: 'One product' }).click()
    await page.getByRole('heading', { name: 'One product' }).waitFor()
    const asked = page.waitForRequest(/shop-events\/funnel\?product=sku-419$/)
    await page.getByRole('link', { name: 'sku-419' }).click()
    await asked
    assert.match(page.url(), /#\/results\/shop-events\/product\?product=sku-419$/)
    assert.equal(await page.getByLabel('Product', { exact: true }).inputValue(), 'sku-419')
    // beside the parameters that the route has of itself
    const table = page.waitForRequest(/top-products\?limit=10&product=sku-419&since=2h$/)
    await page.getByLabel('Since').fill('2h')
    await table
    assert.match(page.url(), /product=sku-419&since=2h$/)
    await page.getByRole('link', { name: 'All of shop-events' }).click()
    await page.getByText('34 % of those before').waitFor()
    await page.goto(`${mock.url}/#/results/shop-events/nothing-like-it`)
    await page.getByText('34 % of those before').waitFor()
  },
)

// ---- the real server -----------------------------------------------------------------------------------------------

inChromium('on the real server every view stands, and a dead letter is mended, replayed, and lands', async () => {
  await using served = await openServed({ page: pageFolder })
  await using tab = await openTab(browser, served.url)
  const { page, complaints, strangers } = tab
  await page.getByRole('heading', { name: 'shop-events' }).waitFor()
  await shoot(page, 'real-overview')
  for (const [name, hash, shows] of [
    ['steps', '#/pipelines/shop-events', 'A row becomes a dead letter when'],
    ['batches', '#/pipelines/shop-events/batches', 'What was not written'],
    ['books', '#/pipelines/shop-events/books', 'They balance: each of 18 rows'],
    ['files', '#/pipelines/shop-events/files', 'part-3.csv'],
    ['plan', '#/pipelines/shop-events/plan', 'The plan as data'],
    ['results', '#/results/shop-events', 'Funnel'],
    ['live', '#/live', 'Waiting for rows'],
    ['dead-letters', '#/dead-letters', '9 rows were refused'],
  ] as const) {
    await page.goto(`${served.url}/${hash}`)
    await page.getByText(shows).first().waitFor()
    await settled(page)
    await shoot(page, `real-${name}`)
    assert.deepEqual(await barriers(page, `real ${name}`), [])
  }

  await page.getByLabel('Code').selectOption('NOT_ONE_OF')
  await page.getByRole('option', { name: 'steal' }).first().click()
  await page
    .getByLabel(/^event_type/)
    .first()
    .fill('view')
  await page.getByRole('button', { name: 'Save the changes' }).click()
  await page.getByText('Saved.').waitFor()
  await page.getByRole('button', { name: 'Replay…', exact: true }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByText('would land').waitFor()
  await shoot(page, 'real-dry-run')
  await dialog.getByRole('button', { name: 'Replay 1' }).click()
  await dialog.getByText('landed').waitFor({ timeout: 30_000 })
  await dialog.getByRole('button', { name: 'Close' }).last().click()
  await page
    .getByText(/^Replayed/)
    .first()
    .waitFor()
  await page.goto(`${served.url}/#/pipelines/shop-events/batches`)
  await page.getByText('replay', { exact: true }).first().waitFor()
  assert.deepEqual(complaints, [])
  assert.deepEqual(strangers, [])
})

inChromium('on the real server many are left to a worker, and its task is shown until they have landed', async () => {
  await using served = await openServed({ page: pageFolder })
  const { store, duck, config, folder } = served
  const rows = Array.from({ length: 10_001 }, (_, n) => `r${n},u1,refund,p1,1.50,2026-01-31T12:00:00Z`)
  const input = join(folder, 'refunds.csv')
  writeFileSync(input, `event_id,user_id,event_type,product_id,price,event_timestamp\n${rows.join('\n')}\n`)
  const log = createLog('error', { write: () => {} })
  const stop = new AbortController()
  const tools = { config, store, duck, log, signal: stop.signal }
  await runSystem({ ...tools, system: shopEvents, bounded: { inputs: [input], again: false } })

  const running = runTasks({ ...tools, owners: [withReplays(shopEvents, tools)], settings: config.settings })
  await using cleanup = new AsyncDisposableStack()
  cleanup.defer(async () => {
    stop.abort()
    await running
  })
  // it has to wait until the pipeline is lent to it
  const ownsIt = { pipeline: 'shop-events', owner: 'the test', borrow: false, onWanted: () => {}, onLost: () => {} }
  const owning = await store.lease(ownsIt)
  assert.ok(owning.is === 'taken')

  await using tab = await openTab(browser, `${served.url}/#/dead-letters?code=NOT_ONE_OF`)
  const { page, complaints } = tab
  await page.getByRole('button', { name: /^Replay all 10,0\d\d/ }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByText('Give all of them the same value').click({ timeout: 60_000 })
  await dialog.getByLabel('Column').selectOption('event_type')
  await dialog.getByLabel('Value').fill('view')
  await dialog.getByRole('button', { name: 'See what it would do' }).click()
  await dialog.getByText('would land').waitFor({ timeout: 60_000 })
  await dialog.getByRole('button', { name: /^Replay 10,0\d\d$/ }).click()
  await dialog.getByText('replays them, behind other work').waitFor()
  assert.equal(await dialog.getByText('No row was sent again').count(), 0)
  await shoot(page, 'real-left-to-a-worker')
  assert.deepEqual(await barriers(page, 'real left to a worker'), [])
  await dialog.getByRole('link', { name: 'Tasks' }).click()
  await page.getByRole('cell', { name: 'replay_dead_letters' }).waitFor()
  await shoot(page, 'real-replay-waits')

  await owning.lease.release()
  await page.getByText('Nothing waits').waitFor({ timeout: 120_000 })
  const client = await served.connect()
  const { rows: left } = await client.query(
    `select count(*)::int as open from millrace.dead_letters where settled is null and fields ->> 'event_type' = 'refund'`,
  )
  await client.end()
  assert.deepEqual(left, [{ open: 0 }])
  assert.deepEqual(complaints, [])
})

inChromium(
  'on the real server the lag, the watermark and the late rows of a topic are shown, and the end of time',
  async () => {
    await using served = await openServed({ page: pageFolder })
    const work = await openTelemetraWork(served)
    const noon = Date.parse('2026-01-01T12:00:00Z')
    await work.chat(0, noon, 30)
    await work.run()
    await work.chat(1, noon - 3_600_000, 4, '<img src=x onerror=window.__pwned=1>')
    await using tab = await openTab(browser, `${served.url}/#/pipelines/telemetra/time`)
    const { page, complaints, strangers } = tab
    const cells = page.getByRole('row', { name: /^1 / }).getByRole('cell')
    // it follows what is appended, though nothing is committed
    await page.getByRole('cell', { name: '4', exact: true }).first().waitFor()
    assert.deepEqual(await cells.allTextContents(), ['', '4', 'none yet', '4', 'none'])
    const card = page.getByRole('region', { name: 'Event time', exact: true })
    await card.getByText('2026-01-01 12:00:19').waitFor()
    await shoot(page, 'real-event-time')
    assert.deepEqual(await barriers(page, 'real event time'), [])

    await work.run()
    await card.getByRole('link', { name: 'look at them' }).click()
    const folds = page.locator('.late .fold')
    await folds.first().waitFor()
    assert.deepEqual(await folds.allTextContents(), ['60 min', '60 min', '60 min', '60 min'])
    await folds.first().click()
    await page.locator('.late .raw-line').getByText('<img src=x onerror=window.__pwned=1>').waitFor()
    await shoot(page, 'real-late-rows')

    await work.run({ final: true })
    await page.goto(`${served.url}/#/pipelines/telemetra/time`)
    await card.getByText('Closed: nothing will follow').waitFor()
    assert.equal(await page.evaluate('window.__pwned'), undefined)
    assert.deepEqual([...complaints, ...strangers], [])
  },
)
