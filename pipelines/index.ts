import { shopEvents } from './shop-events/pipeline.ts'

/** The systems that ship with Millrace. */
export const systems = [shopEvents]
