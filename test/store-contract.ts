/** The one contract suite that every store passes unchanged. */
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { arm } from '../src/failpoint.ts'
import { rowFile } from './row-file.ts'
import { commits } from './store-contract/commits.ts'
import { deadLetters } from './store-contract/dead-letters.ts'
import { keyed } from './store-contract/keyed.ts'
import { leases } from './store-contract/leases.ts'
import { lending } from './store-contract/lending.ts'
import { outbox } from './store-contract/outbox.ts'
import { progress } from './store-contract/progress.ts'
import { refusals } from './store-contract/refusals.ts'
import { registering } from './store-contract/registering.ts'
import { requests } from './store-contract/requests.ts'
import { tables } from './store-contract/tables.ts'
import { windows } from './store-contract/windows.ts'
import type { OpenedStore, Scenario } from './store-contract/world.ts'

export type { OpenedStore }

/** `open` opens a store that knows nothing yet; each scenario has one of its own. */
export function storeContract(name: string, open: () => Promise<OpenedStore>): void {
  const scenario: Scenario = (sentence, run) => {
    test(sentence, { timeout: 60_000 }, async () => {
      await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-store-'))
      const opened = await open()
      try {
        await run({ ...opened, folder: folder.path, file: (columns, rows) => rowFile(folder.path, columns, rows) })
      } finally {
        arm(undefined)
        await opened.close()
      }
    })
  }
  describe(`the store in ${name}`, () => {
    registering(scenario)
    leases(scenario)
    lending(scenario)
    tables(scenario)
    refusals(scenario)
    commits(scenario)
    progress(scenario)
    deadLetters(scenario)
    windows(scenario)
    keyed(scenario)
    outbox(scenario)
    requests(scenario)
  })
}
