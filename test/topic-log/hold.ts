/** Holds the right to write a topic until it is killed: `hold.ts <folder> <topic>`. */
import { openLocalTopics } from '../../src/sources/topic/log/open.ts'

const [folder = '', topic = ''] = process.argv.slice(2)
const writer = await openLocalTopics(folder).openWriter(topic)
await writer.append([{ value: Buffer.from('held') }])
process.stdout.write('holds\n')
setInterval(() => {}, 1000)
