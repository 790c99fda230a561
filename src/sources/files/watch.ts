/** Notices new files: the kernel's notices for speed, and a look every second as the net below them. */
import { type FSWatcher, watch } from 'node:fs'

export class FolderWatch implements Disposable {
  #changed = false
  #wake: (() => void) | undefined
  readonly #watcher: FSWatcher | undefined

  constructor(folder: string) {
    this.#watcher = this.#open(folder)
  }

  #open(folder: string): FSWatcher | undefined {
    try {
      // it is the wait that keeps a process alive
      const watcher = watch(folder, { persistent: false }, () => this.notice())
      // without notices the look every second still finds everything
      watcher.on('error', () => watcher.close())
      return watcher
    } catch {
      return undefined
    }
  }

  notice(): void {
    this.#changed = true
    this.#wake?.()
  }

  /** Resolves when the folder changed since the last call, or after `atMostMs`. */
  async wait(atMostMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#changed && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          clearTimeout(timer)
          signal.removeEventListener('abort', done)
          this.#wake = undefined
          resolve()
        }
        const timer = setTimeout(done, atMostMs)
        signal.addEventListener('abort', done)
        this.#wake = done
      })
    }
    this.#changed = false
  }

  [Symbol.dispose](): void {
    this.#watcher?.close()
  }
}
