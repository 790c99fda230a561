/** What a store keeps of tasks that batches ask for. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { arm } from '../../src/failpoint.ts'
import { requestColumns } from '../../src/store/store.ts'
import { type Scenario, work } from './world.ts'

export function requests(scenario: Scenario): void {
  describe('tasks that are asked for', () => {
    scenario('come with the batch that asks for them, in its transaction', async (world) => {
      const worker = await work(world.store)
      const rows = await world.file(
        [...requestColumns],
        [
          ['sum', '101'],
          ['sum', 'é "x"'],
        ],
      )
      await worker.commit({ requests: rows })
      await worker.commit()
      assert.deepEqual(await world.requests(), [
        ['sum', '101', 1],
        ['sum', 'é "x"', 1],
      ])
    })

    scenario('do not come without it', async (world) => {
      const worker = await work(world.store)
      const rows = await world.file([...requestColumns], [['sum', 'a']])
      arm('after positions=throw')
      await assert.rejects(() => worker.commit({ requests: rows }), /FAILPOINT/)
      assert.deepEqual(await world.requests(), [])
    })
  })
}
