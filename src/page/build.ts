/** Builds the page, and knows when a build is older than its sources. Run as a program it builds. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Log } from '../log.ts'

const sources = import.meta.dirname
const root = join(sources, '..', '..')

/** Where the built page lies: `index.html`, and `assets/` with names that change with their content. */
export const pageFolder = join(root, 'build', 'page')

const stamp = 'built-from'

/** Builds the page when its sources are not those of the build. A package that ships without sources has its build. */
export async function buildPageIfStale(log: Log): Promise<void> {
  if (!existsSync(join(sources, 'index.html'))) return
  const wanted = await hashOfSources()
  if ((await builtFrom()) === wanted) return
  const startedAt = performance.now()
  log.info('building the page', { folder: pageFolder })
  await inChildProcess()
  log.info('built the page', { ms: Math.round(performance.now() - startedAt) })
}

async function builtFrom(): Promise<string | undefined> {
  const path = join(pageFolder, stamp)
  return existsSync(path) ? await readFile(path, 'utf8') : undefined
}

// What the build is made of: the files here, and the packages that are bundled with them.
async function hashOfSources(): Promise<string> {
  const hash = createHash('sha256')
  const files = await readdir(sources, { recursive: true, withFileTypes: true })
  const paths = files.filter((file) => file.isFile()).map((file) => join(file.parentPath, file.name))
  for (const path of [...paths.sort(), join(root, 'package.json')]) {
    hash.update(path.slice(root.length)).update('\0')
    hash.update(await readFile(path)).update('\0')
  }
  return hash.digest('hex')
}

// The bundler holds memory and threads that a server should not keep.
async function inChildProcess(): Promise<void> {
  const child = spawn(process.execPath, [import.meta.filename], { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (part: Buffer) => {
    said += part.toString()
  })
  const { promise, resolve, reject } = Promise.withResolvers<number | null>()
  child.on('error', reject)
  child.on('close', resolve)
  const code = await promise
  if (code !== 0) throw new Error(`the page could not be built:\n${said.trim()}`)
}

// Into a folder of its own first: whoever serves the page meanwhile sees the old build or the new one, never half of one.
async function buildPage(): Promise<void> {
  // only here: whoever asks whether a build is old need not load the bundler
  const { build } = await import('vite')
  const wanted = await hashOfSources()
  const fresh = `${pageFolder}.${process.pid}`
  await mkdir(fresh, { recursive: true })
  try {
    await build({
      root: sources,
      configFile: false,
      logLevel: 'warn',
      oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
      plugins: [{ name: 'fonts-licence', generateBundle: fontsLicence }],
      build: {
        outDir: fresh,
        emptyOutDir: true,
        target: 'es2022',
        sourcemap: false,
        // a data: address would need more than the page's content security policy allows
        assetsInlineLimit: 0,
        modulePreload: { polyfill: false },
      },
    })
    await writeFile(join(fresh, stamp), wanted)
    await putInPlace(fresh, wanted)
  } finally {
    await rm(fresh, { recursive: true, force: true })
  }
}

// Another process may be doing the same: whoever is second finds the place taken, by the same build.
async function putInPlace(fresh: string, wanted: string): Promise<void> {
  await rm(pageFolder, { recursive: true, force: true })
  try {
    await rename(fresh, pageFolder)
  } catch (error) {
    if ((await builtFrom()) !== wanted) throw error
  }
}

async function fontsLicence(this: { emitFile(file: { type: 'asset'; fileName: string; source: string }): unknown }) {
  const licences = ['inter', 'jetbrains-mono'].map((font) =>
    readFile(join(root, 'node_modules', '@fontsource-variable', font, 'LICENSE'), 'utf8'),
  )
  const source = (await Promise.all(licences)).join('\n\n')
  this.emitFile({ type: 'asset', fileName: 'assets/fonts-licence.txt', source })
}

if (import.meta.main) await buildPage()
