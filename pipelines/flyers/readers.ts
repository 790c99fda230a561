/** Readers of flyers, as they come and go: who opens what, who comes back to it, who never closes it. */

export interface FlyerEvent {
  timestamp: string
  user_id: string
  event: string
  flyer_id: string
  merchant_id: string
}

interface Reading {
  user: number
  flyer: number
}

/** People who read at once, about, for each event a second: so a reading takes some minutes. */
const readingPerRate = 90
const mostReading = 200_000

export interface ReadersOptions {
  users: number
  flyers: number
  merchants: number
}

export interface Readers {
  /** What happens at this time. */
  next(timeMs: number, stepMs: number): FlyerEvent
}

export function openReaders(random: () => number, { users, flyers, merchants }: ReadersOptions): Readers {
  const reading: Reading[] = []
  const below = (n: number): number => Math.floor(random() * n)
  // some are read by many, most by few
  const someFlyer = (): number => Math.floor(flyers * random() ** 2)

  function next(timeMs: number, stepMs: number): FlyerEvent {
    const aboutNow = Math.min(mostReading, Math.max(10, Math.ceil((readingPerRate * 1000) / stepMs)))
    const chance = random()
    if (chance < 0.04) return made({ user: below(users), flyer: -1 }, 'shopping_list_open', timeMs)
    // somebody closes what nobody has opened
    if (chance < 0.05) return made({ user: below(users), flyer: someFlyer() }, 'flyer_close', timeMs)
    const closes = reading.length > 0 && random() < reading.length / (2 * aboutNow)
    if (!closes) {
      const again = reading.length > 0 && random() < 0.03 ? reading[below(reading.length)] : undefined
      const opened = again ?? { user: below(users), flyer: someFlyer() }
      // some never come back to it
      if (again === undefined && random() > 0.04) reading.push(opened)
      return made(opened, 'flyer_open', timeMs)
    }
    const at = below(reading.length)
    const closed = reading[at] ?? { user: 0, flyer: 0 }
    const last = reading.pop()
    if (last !== undefined && at < reading.length) reading[at] = last
    return made(closed, 'flyer_close', timeMs)
  }

  function made({ user, flyer }: Reading, event: string, timeMs: number): FlyerEvent {
    const flyer_id = flyer < 0 ? '' : `flyer-${flyer + 1}`
    const merchant_id = flyer < 0 ? '' : `merchant-${(flyer % merchants) + 1}`
    return { timestamp: new Date(timeMs).toISOString(), user_id: `user-${user + 1}`, event, flyer_id, merchant_id }
  }

  return { next }
}
