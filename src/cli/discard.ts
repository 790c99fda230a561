import { MillraceError } from '../errors.ts'
import { choiceOf } from './letters-choice.ts'
import { chosenLetters, isMeant, settlingOptions, settlingUsage } from './letters-settling.ts'
import { commandLog, openStore, readConfig, shortWaitMs } from './open.ts'
import { counted } from './text.ts'
import { jsonOption, textOption, type Verb } from './verb.ts'

export const discard: Verb = {
  says: 'Settles dead letters that are not worth mending, with a reason; they stay in the table.',
  usage: `${settlingUsage} --reason TEXT [--json]`,
  options: {
    ...settlingOptions,
    reason: { type: 'string', says: 'why, for whoever asks later' },
    ...jsonOption,
  },
  examples: [
    'millrace dead-letters discard 18 19 --reason "test rows"',
    'millrace dead-letters discard --code EMPTY --batch 12 --reason "known fault of the till"',
  ],
  async run({ words, options, signal, out }) {
    const reason = textOption(options, 'reason')
    if (reason === undefined || reason.trim() === '') {
      throw new MillraceError('WRONG_USAGE', { message: 'why are they discarded?', hint: 'say so with --reason "..."' })
    }
    const json = options['json'] === true
    const filter = await choiceOf(words, options)
    const { config } = readConfig()
    await using opened = await openStore(config, commandLog(config), { waitMs: shortWaitMs, signal })
    const chosen = await chosenLetters(opened.store, filter, json ? () => {} : out)
    if (!(await isMeant(opened.store, chosen, options, signal))) return 1
    const discarded = await opened.store.discardDeadLetters(chosen.which, reason)
    out(json ? JSON.stringify({ discarded }) : `discarded ${counted(discarded, 'dead letter')}`)
    return 0
  },
}
