import { useState } from 'preact/hooks'
import { giveToken, tokenWanted } from '../api.ts'
import { sentence } from '../format.ts'
import { tryNow } from '../live.ts'
import { Dialog } from './dialog.tsx'

export function TokenDialog({ why }: { why: string }) {
  const [token, setToken] = useState('')
  return (
    <Dialog title="A token is needed" onClose={() => tokenWanted.set(undefined)}>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          giveToken(token.trim())
          tryNow()
        }}
      >
        <div class="dialog-body">
          <p>{sentence(why)}</p>
          <p>
            <code>millrace tokens add</code> makes one. This page keeps it until the tab is closed.
          </p>
          <label class="field">
            <span>Token</span>
            <input
              type="password"
              autocomplete="off"
              required
              value={token}
              onInput={(event) => setToken(event.currentTarget.value)}
            />
          </label>
        </div>
        <div class="dialog-foot">
          <button type="submit" class="button button-main">
            Use this token
          </button>
        </div>
      </form>
    </Dialog>
  )
}
