/**
 * Leases in memory: one is held until it is given back, lent, its store is closed, or a test lets it run out. Nothing
 * here waits for a clock.
 */
import type { Lease, LeaseAnswer, LeaseRequest } from '../store.ts'

export interface LeaseState {
  epoch: number
  holder: Holder | undefined
  lentBy: string | null
  doing: string | null
  /** Those who asked the holder to lend it, first come first. */
  borrowers: Borrower[]
  /** Those who lent it and wait to take it again. */
  lenders: (() => void)[]
}

interface Holder {
  request: LeaseRequest
  /** The opening of the store that took it. */
  opening: object
  epoch: number
  expired: boolean
}

interface Borrower {
  request: LeaseRequest
  opening: object
  answer: (answer: LeaseAnswer) => void
}

export function freeLease(): LeaseState {
  return { epoch: 0, holder: undefined, lentBy: null, doing: null, borrowers: [], lenders: [] }
}

export async function takeLease(state: LeaseState, request: LeaseRequest, opening: object): Promise<LeaseAnswer> {
  if (state.holder === undefined || state.holder.expired) {
    state.lentBy = null
    return hand(state, request, opening)
  }
  if (!request.borrow || request.signal?.aborted) return heldBy(state)
  const { onWanted } = state.holder.request
  return await new Promise((answer) => {
    const borrower = { request, opening, answer }
    state.borrowers.push(borrower)
    request.signal?.addEventListener('abort', () => giveUp(state, borrower), { once: true })
    onWanted(request.owner)
  })
}

/** Whether this opening may commit with this epoch. */
export function holds(state: LeaseState, opening: object, epoch: number): boolean {
  return state.epoch === epoch && state.holder?.opening === opening
}

/** What the passing of time does to the lease of an owner that is stopped or cut off. */
export function expire(state: LeaseState): void {
  if (state.holder === undefined) return
  state.holder.expired = true
  passOn(state)
}

/** What happens to the lease, and to the wish for it, when a store is closed. */
export function leave(state: LeaseState, opening: object): void {
  for (const borrower of state.borrowers.filter((each) => each.opening === opening)) giveUp(state, borrower)
  if (state.holder?.opening !== opening) return
  state.holder = undefined
  passOn(state)
}

function hand(state: LeaseState, request: LeaseRequest, opening: object): LeaseAnswer {
  const before = state.holder
  const holder: Holder = { request, opening, epoch: ++state.epoch, expired: false }
  state.holder = holder
  state.doing = null
  before?.request.onLost(`${request.owner} has taken it`)
  return { is: 'taken', lease: leaseOf(state, holder) }
}

function leaseOf(state: LeaseState, holder: Holder): Lease {
  const free = () => {
    state.holder = undefined
    state.doing = null
    passOn(state)
  }
  return {
    pipeline: holder.request.pipeline,
    epoch: holder.epoch,
    says(doing) {
      if (state.holder === holder) state.doing = doing
    },
    async release() {
      // a worker that has lost its lease must not give away its successor's
      if (state.holder === holder) free()
    },
    async lend(signal) {
      if (state.holder !== holder) return
      await new Promise<void>((back) => {
        state.lentBy = holder.request.owner
        state.lenders.push(back)
        if (signal.aborted) back()
        else signal.addEventListener('abort', () => back(), { once: true })
        free()
      })
    },
  }
}

// To the next who wants to borrow it; when there is none, those who lent it may take it again.
function passOn(state: LeaseState): void {
  const next = state.borrowers.shift()
  if (next !== undefined) {
    next.answer(hand(state, next.request, next.opening))
    return
  }
  if (state.holder === undefined) state.lentBy = null
  for (const back of state.lenders.splice(0)) back()
}

function giveUp(state: LeaseState, borrower: Borrower): void {
  if (!state.borrowers.includes(borrower)) return
  state.borrowers.splice(state.borrowers.indexOf(borrower), 1)
  borrower.answer(heldBy(state))
}

function heldBy(state: LeaseState): LeaseAnswer {
  // a living holder has just renewed it
  return { is: 'held', by: state.holder?.request.owner ?? '', expiresInMs: 10_000 }
}
