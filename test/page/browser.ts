/** A real browser, and what the tests of the page ask of it. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { type Browser, chromium, type Page } from 'playwright-core'

export type Scheme = 'light' | 'dark'

const root = join(import.meta.dirname, '..', '..')
const screenshots = join(root, 'build', 'screenshots')
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** Where Chromium is, or nothing: then these tests cannot run. */
export function chromiumPath(): string | undefined {
  const own = process.env['MILLRACE_CHROMIUM']
  if (own !== undefined) return own
  for (const name of ['chromium', 'chromium-browser', 'google-chrome', 'chrome']) {
    try {
      return execFileSync('which', [name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
    } catch {
      // the next name may be there
    }
  }
  return undefined
}

export async function launch(executablePath: string): Promise<Browser> {
  mkdirSync(screenshots, { recursive: true })
  const args = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run']
  args.push('--disable-background-networking', '--disable-component-update', '--disable-sync')
  return await chromium.launch({ executablePath, args })
}

export interface Tab extends AsyncDisposable {
  page: Page
  /** What the page complained of: errors, and whatever its security policy has stopped. */
  complaints: string[]
  /** Addresses that it asked beside its own server. */
  strangers: string[]
}

export async function openTab(
  browser: Browser,
  url: string,
  { width = 1440, scheme = 'light' }: { width?: number; scheme?: Scheme } = {},
): Promise<Tab> {
  const context = await browser.newContext({
    viewport: { width, height: width < 600 ? 800 : 900 },
    colorScheme: scheme,
    reducedMotion: 'reduce',
  })
  context.setDefaultTimeout(10_000)
  const page = await context.newPage()
  const complaints: string[] = []
  const strangers: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  const { origin } = new URL(url)
  page.on('request', (request) => {
    if (!request.url().startsWith(origin)) strangers.push(request.url())
  })
  await page.goto(url)
  return { page, complaints, strangers, [Symbol.asyncDispose]: () => context.close() }
}

/** As it looks now, for a person to look at. */
export async function shoot(page: Page, name: string): Promise<void> {
  await page.screenshot({ path: join(screenshots, `${name}.png`) })
}

interface AxeAnswer {
  violations: { id: string; nodes: { html: string; failureSummary: string }[] }[]
}

/** What axe finds in the way of somebody, in lines. */
export async function barriers(page: Page, where: string): Promise<string[]> {
  await page.evaluate(axe)
  // as: what axe answers
  const { violations } = (await page.evaluate('axe.run()')) as AxeAnswer
  return violations.flatMap(({ id, nodes }) =>
    nodes.slice(0, 3).map(({ html, failureSummary }) => `${where}: ${id}: ${html.slice(0, 200)} ${failureSummary}`),
  )
}

/** By how much the page itself is wider than the screen. */
export async function overflow(page: Page): Promise<number> {
  return Number(await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth'))
}
