/** Pipelines of users: a module whose default export, or else its only pipeline, is a system or a built flow. */
import { readdir, realpath } from 'node:fs/promises'
import { dirname, extname, isAbsolute, join, relative, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { MillraceError, messageOf, nearest } from '../errors.ts'
import { typeOfAggregate } from '../functions/aggregate.ts'
import { typeOfExpression } from '../functions/type-of.ts'
import { checkPlan } from '../plan/check.ts'
import type { Plan } from '../plan/plan.ts'
import type { System } from '../system.ts'

const loaded = new Map<string, System>()

/** The systems that were loaded from files, in this process. */
export function ownSystems(): System[] {
  return [...loaded.values()]
}

/** Whether a word names a file: no pipeline's name has a slash or a point. */
export function isModulePath(word: string): boolean {
  return /[/\\]/.test(word) || /\.[cm]?[jt]s$/.test(word)
}

/** The system of a module, relative to the current directory. `shipped` are names that are taken. */
export async function loadSystem(path: string, shipped: readonly System[]): Promise<System> {
  const file = await realpath(path).catch(async () => {
    throw new MillraceError('UNKNOWN_PIPELINE', { message: `there is no file ${path}`, ...(await hintFor(path)) })
  })
  const known = loaded.get(file)
  if (known !== undefined) return known
  const at = shownPath(file)
  const found = pipelineIn(await imported(file, at), at)
  // the file of one that ships
  const same = shipped.find((system) => system === found)
  if (same !== undefined) return same
  const system = systemOf(found, at)
  const twin = [...shipped, ...ownSystems()].find(({ name }) => name === system.name)
  if (twin !== undefined) {
    const place = [...loaded].find(([, other]) => other === twin)?.[0]
    throw new MillraceError('BAD_MODULE', {
      at,
      message: `there are two pipelines called "${system.name}": ${place === undefined ? 'one ships with Millrace' : `the other is in ${shownPath(place)}`}`,
      hint: 'give one of them another name: what is stored belongs to the name',
    })
  }
  loaded.set(file, system)
  return system
}

/** A path as people type it: `./orders.ts`, or absolute when it lies elsewhere. */
export function shownPath(path: string): string {
  const way = relative(process.cwd(), resolve(path))
  return way.startsWith('..') || isAbsolute(way) ? resolve(path) : `./${way}`
}

async function hintFor(path: string): Promise<{ hint?: string }> {
  const names = await readdir(dirname(resolve(path))).catch(() => [])
  const meant = nearest(
    path,
    names.filter(isModulePath).map((name) => join(dirname(path), name)),
  )
  return meant === undefined ? {} : { hint: `did you mean ${shownPath(meant)}?` }
}

async function imported(file: string, at: string): Promise<Record<string, unknown>> {
  try {
    return await import(pathToFileURL(file).href)
  } catch (error) {
    if (error instanceof MillraceError) throw placed(error, at)
    const missing = error instanceof Error && error.message.startsWith("Cannot find package 'millrace'")
    throw new MillraceError('BAD_MODULE', {
      at: lineIn(error) ?? at,
      message: `the file cannot be imported: ${error instanceof Error ? `${error.name}: ` : ''}${messageOf(error)}`,
      ...(missing ? { hint: "install millrace where the file lies, or put the file into Millrace's own folder" } : {}),
      cause: error,
    })
  }
}

type Flow = { plan: Plan }

function pipelineIn(module: Record<string, unknown>, at: string): System | Flow {
  const pipelines = Object.entries(module).filter((entry): entry is [string, System | Flow] => isPipeline(entry[1]))
  const chosen = Object.hasOwn(module, 'default') ? pipelines.filter(([name]) => name === 'default') : pipelines
  const [only, another] = chosen
  if (only !== undefined && another === undefined) return only[1]
  const hint = "write: export default pipeline('orders').from(...).into(table('orders'))"
  if (another !== undefined) {
    const names = chosen.map(([name]) => name).join(', ')
    throw new MillraceError('BAD_MODULE', { at, message: `the file exports several pipelines: ${names}`, hint })
  }
  const exports = Object.entries(module).map(([name, value]) => `${name}, which is ${described(value)}`)
  const says = exports.length === 0 ? 'nothing at all' : exports.join('; ')
  throw new MillraceError('BAD_MODULE', { at, message: `the file exports no pipeline, but ${says}`, hint })
}

// A system computes its plan from settings; a flow has it.
function isPipeline(value: unknown): value is System | Flow {
  if (!isRecord(value)) return false
  const { name, plan, settings } = value
  return typeof plan === 'function' ? typeof name === 'string' && isRecord(settings) : isPlan(plan)
}

function isPlan(value: unknown): boolean {
  return isRecord(value) && typeof value['name'] === 'string' && Array.isArray(value['steps'])
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function described(value: unknown): string {
  if (isPlan(value)) return 'a plan without its pipeline'
  if (value instanceof Promise) return 'a promise'
  if (Array.isArray(value)) return 'a list'
  if (!isRecord(value)) return value === null || value === undefined ? String(value) : `a ${typeof value}`
  if (typeof value['plan'] === 'function') return 'a system without a name or settings'
  return typeof value['from'] === 'function' ? 'a pipeline without a source' : 'an object'
}

function systemOf(found: System | Flow, at: string): System {
  const isFlow = typeof found.plan !== 'function'
  // as: what is no system is a flow
  const system = isFlow ? flowSystem((found as Flow).plan, at) : (found as System)
  const checked: System = {
    ...system,
    plan(settings) {
      try {
        const plan = system.plan(settings)
        checkPlan(plan, { typeOfExpression, typeOfAggregate })
        if (plan.name === system.name) return plan
      } catch (error) {
        throw error instanceof MillraceError ? placed(error, at) : error
      }
      throw new MillraceError('INVALID_PLAN', { at, message: `the plan of "${system.name}" has another name` })
    },
  }
  if (isFlow) checked.plan({})
  return checked
}

function flowSystem(plan: Plan, at: string): System {
  return { name: plan.name, says: `The pipeline in ${at}.`, settings: {}, plan: () => plan }
}

// Where in the user's file, beside where in the plan.
function placed(error: MillraceError, at: string): MillraceError {
  const place = lineIn(error) ?? at
  return new MillraceError(error.code, {
    message: error.message,
    at: error.at === undefined ? place : `${place}, ${error.at}`,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    cause: error,
  })
}

const sources = join(import.meta.dirname, '..')

// The innermost line of the stack that is neither Millrace's nor a package's.
function lineIn(error: unknown): string | undefined {
  const stack = (error instanceof Error && error.stack) || ''
  for (const [, url = '', line = ''] of stack.matchAll(/((?:file:\/\/)?\/\S*?\.[cm]?[jt]s):(\d+)/g)) {
    const file = url.startsWith('file:') ? fileURLToPath(url) : url
    if (extname(file) !== '' && !file.startsWith(sources) && !file.includes('node_modules'))
      return `${shownPath(file)}:${line}`
  }
  return undefined
}
