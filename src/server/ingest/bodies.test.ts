import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { Bodies } from './bodies.ts'

function request(headers: IncomingMessage['headers'] = {}) {
  return Object.assign(new PassThrough(), { headers })
}

const told = (status: number, code: string) => (error: { problem: { status: number; code: string } }) => {
  assert.deepEqual([error.problem.status, error.problem.code], [status, code])
  return true
}

test('a body is read whole, in one piece or several', async () => {
  const bodies = new Bodies(10, 20)
  for (const parts of [['all'], ['in ', 'two'], []]) {
    const posted = request()
    const reading = bodies.read(posted)
    for (const part of parts) posted.write(part)
    posted.end()
    const body = await reading
    assert.equal(body.toString(), parts.join(''))
    bodies.release(body.length)
  }
})

test('a body that is too large is refused, by what it says or by what it has', async () => {
  const bodies = new Bodies(10, 100)
  await assert.rejects(bodies.read(request({ 'content-length': '11' })), told(413, 'TOO_LARGE'))
  const posted = request()
  const reading = bodies.read(posted)
  posted.write('12345678901')
  await assert.rejects(reading, told(413, 'TOO_LARGE'))
})

test('all together hold no more than they may, until one is released, and those that end early hold nothing', async () => {
  const bodies = new Bodies(10, 20)
  const held = [request(), request()]
  const reading = held.map((each) => bodies.read(each))
  for (const each of held) each.end('1234567890')
  await Promise.all(reading)
  const post = () => {
    const posted = request()
    posted.end('1')
    return bodies.read(posted)
  }
  await assert.rejects(post(), told(503, 'BUSY'))
  await assert.rejects(post(), told(503, 'BUSY'))
  bodies.release(10)
  assert.equal((await post()).length, 1)

  const gone = request()
  const ended = bodies.read(gone)
  gone.write('12345')
  gone.destroy()
  await assert.rejects(ended, told(400, 'BAD_REQUEST'))
  const large = request()
  large.end('123456789')
  assert.equal((await bodies.read(large)).length, 9)
})
