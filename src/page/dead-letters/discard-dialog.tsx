import { useState } from 'preact/hooks'
import { ask as askServer, type Problem, problemFrom } from '../api.ts'
import { counted } from '../format.ts'
import { Dialog } from '../parts/dialog.tsx'
import { ProblemNotice } from '../parts/notice.tsx'
import type { Asked } from './dead-letters.tsx'
import { inWords } from './filter.ts'

interface DiscardDialogProps {
  asked: Asked
  onClose(): void
  onDone(): void
}

/** Asks for a reason, which stays with the rows. */
export function DiscardDialog({ asked, onClose, onDone }: DiscardDialogProps) {
  const [reason, setReason] = useState('')
  const [problem, setProblem] = useState<Problem>()
  const [busy, setBusy] = useState(false)
  const [discarded, setDiscarded] = useState<number>()
  const discard = async (): Promise<void> => {
    setBusy(true)
    setProblem(undefined)
    try {
      const body = { where: asked.where, reason: reason.trim() }
      const answer = await askServer<{ discarded: number }>('/api/dead-letters/discard', { method: 'POST', body })
      setDiscarded(answer.discarded)
      onDone()
    } catch (error) {
      setProblem(problemFrom(error))
    } finally {
      setBusy(false)
    }
  }
  if (discarded !== undefined) {
    return (
      <Dialog title="Discarded" onClose={onClose}>
        <div class="dialog-body">
          <p role="status">{counted(discarded, 'dead letter')} discarded. The rows and the reason stay in the table.</p>
        </div>
        <div class="dialog-foot">
          <button type="button" class="button button-main" onClick={onClose}>
            Close
          </button>
        </div>
      </Dialog>
    )
  }
  return (
    <Dialog title={`Discard ${inWords(asked.where, asked.letters)}`} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          void discard()
        }}
      >
        <div class="dialog-body">
          <p>{asked.letters === 1 ? 'It counts' : 'They count'} as settled and will not be replayed.</p>
          <label class="field">
            <span>Reason</span>
            <input
              type="text"
              required
              placeholder="known fault of the till"
              value={reason}
              onInput={(event) => setReason(event.currentTarget.value)}
            />
          </label>
          {problem !== undefined && <ProblemNotice problem={problem} />}
        </div>
        <div class="dialog-foot">
          <button type="button" class="button" onClick={onClose}>
            Leave it
          </button>
          <button type="submit" class="button button-danger" disabled={busy || reason.trim() === ''}>
            {busy ? 'Discarding…' : asked.letters === 1 ? 'Discard it' : 'Discard all'}
          </button>
        </div>
      </form>
    </Dialog>
  )
}
