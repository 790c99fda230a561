/** A real broker of Kafka for one test file: started, stopped and killed as the test says, and gone with it. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { KafkaSettings } from '../src/config.ts'
import { certify, makeAuthority } from './crash/certificates.ts'
import { eventually } from './crash/process.ts'
import { freePorts } from './free-port.ts'

const run = promisify(execFile)
const jars = process.env['MILLRACE_KAFKA_JARS']

/** Why there can be no broker here, or false. */
export const noKafka: string | false =
  jars === undefined ? 'Kafka is not installed: .ci/setup brings it, and names it in MILLRACE_KAFKA_JARS' : false

/** CERTIFIED is SSL with users who show a certificate. */
export const listeners = ['PLAINTEXT', 'SASL_PLAINTEXT', 'SSL', 'SASL_SSL', 'CERTIFIED'] as const
export type Listener = (typeof listeners)[number]

/** Who may log in where users do. */
export const user = { username: 'alice', password: 'alice-secret-1' } as const

export interface Broker extends AsyncDisposable {
  /** How it is spoken to over a listener. */
  settings(listener?: Listener): KafkaSettings
  /** host:port of a listener. */
  address(listener?: Listener): string
  readonly number: number
  /** Where brokers that join it find it. */
  readonly controller: string
  start(): Promise<void>
  /** Lets it end in order. */
  stop(): Promise<void>
  /** Ends it as a crash would. */
  kill(): Promise<void>
  /** Runs one of Kafka's own tools, by its class; it is told where the broker is by `--bootstrap-server`. */
  tool(main: string, args: string[], input?: string): Promise<string>
  /** What the broker said, for the message of a failure. */
  said(): Promise<string>
}

export interface BrokerOptions {
  /** Beside PLAINTEXT, which is always there. */
  listeners?: Listener[]
  /** The broker whose cluster it is part of, under this number; otherwise it is a cluster of its own, number 1. */
  joins?: { cluster: Broker; number: number }
  /** The port of something that stands before PLAINTEXT: clients are sent there. */
  behind?: number
  /** More lines of its settings. */
  config?: Record<string, string | number>
  /** What Java is told; without it, what makes it start fast and take little. */
  java?: string[]
}

export async function startBroker(options: BrokerOptions = {}): Promise<Broker> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-kafka-'))
  const at = (name: string): string => join(folder, name)
  const wanted = listeners.filter((name) => name === 'PLAINTEXT' || options.listeners?.includes(name))
  const [controllerPort = 0, ...free] = await freePorts(wanted.length + 1)
  const number = options.joins?.number ?? 1
  const controller = options.joins?.cluster.controller ?? `127.0.0.1:${controllerPort}`
  const ports = new Map(wanted.map((name, i) => [name, free[i] ?? 0]))
  const portOf = (listener: Listener): number => {
    const port = ports.get(listener)
    if (port === undefined) throw new Error(`the broker was not asked to listen for ${listener}`)
    return port
  }

  if (wanted.some(isTls)) await makeCertificates(folder)
  await writeFile(at('log4j2.yaml'), quietLog)
  await writeFile(
    at('server.properties'),
    properties({ folder, number, controller, ports, behind: options.behind, config: options.config ?? {} }),
  )
  const java = (...args: string[]): string[] => [`-Dlog4j2.configurationFile=${at('log4j2.yaml')}`, ...args]
  const users = ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => [
    '--add-scram',
    `${mechanism}=[name=${user.username},password=${user.password}]`,
  ])
  const format = ['format', '--cluster-id', 'bWlsbHJhY2UtdGVzdHMtMQ', '--config', at('server.properties'), ...users]
  await run('java', java('-XX:TieredStopAtLevel=1', 'kafka.tools.StorageTool', ...format), { env: environment() })

  let running: RunningJava | undefined
  let gone = false
  const broker: Broker = {
    number,
    controller,
    address: (listener = 'PLAINTEXT') => `127.0.0.1:${portOf(listener)}`,
    settings: (listener = 'PLAINTEXT') => ({
      servers: [{ host: hostOf(listener), port: portOf(listener) }],
      tls: isTls(listener)
        ? {
            ca: at('ca.crt'),
            cert: listener === 'CERTIFIED' ? at('user.crt') : undefined,
            key: listener === 'CERTIFIED' ? at('user.key') : undefined,
          }
        : undefined,
      sasl: listener.startsWith('SASL') ? { mechanism: 'SCRAM-SHA-512', ...user } : undefined,
    }),
    async start() {
      const told = options.java ?? ['-Xmx400m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
      const started = await startJava(java(...told, 'kafka.Kafka', at('server.properties')), at('out'))
      running = started
      // a test that fails may end while it starts one anew
      if (gone) await started.end('SIGKILL')
      await eventually(() => Promise.resolve(accepts(portOf('PLAINTEXT'))), {
        what: () =>
          `the broker listens; it is ${started.ended ? 'ended' : 'running'}, and its words are in ${at('out')}`,
        withinMs: 60_000,
      })
    },
    async stop() {
      await running?.end('SIGTERM')
    },
    async kill() {
      await running?.end('SIGKILL')
    },
    async tool(main, args, input = '') {
      const place = ['--bootstrap-server', broker.address()]
      const running = run('java', java('-XX:TieredStopAtLevel=1', main, ...place, ...args), {
        env: environment(),
        maxBuffer: 64_000_000,
      })
      // one that ends before it has read everything says itself what was wrong
      running.child.stdin?.on('error', () => {})
      running.child.stdin?.end(input)
      return (await running).stdout
    },
    said: () => readFile(at('out'), 'utf8'),
    async [Symbol.asyncDispose]() {
      gone = true
      await running?.end('SIGKILL')
      await rm(folder, { recursive: true, force: true })
    },
  }
  await broker.start()
  return broker
}

// A certificate is made out for a name.
function hostOf(listener: Listener): string {
  return isTls(listener) ? 'localhost' : '127.0.0.1'
}

function isTls(listener: Listener): boolean {
  return protocolOf(listener).endsWith('SSL')
}

function protocolOf(listener: Listener): string {
  return listener === 'CERTIFIED' ? 'SSL' : listener
}

interface RunningJava {
  readonly ended: boolean
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>
}

// The shell stands between, so that the broker does not outlive this process however it ends: it kills the broker when
// nobody holds its input open any more.
const shell = `
exec 3<&0
java "$@" </dev/null >>"$OUT" 2>&1 &
broker=$!
echo $broker
{ cat <&3; kill -9 $broker; } >/dev/null 2>&1 &
wait $broker
`

async function startJava(args: string[], out: string): Promise<RunningJava> {
  const child: ChildProcess = spawn('sh', ['-c', shell, 'broker', ...args], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...environment(), OUT: out },
  })
  const exit = once(child, 'exit')
  const [said] = await once(child.stdout ?? child, 'data')
  const pid = Number(said)
  return {
    get ended() {
      return child.exitCode !== null
    },
    async end(signal) {
      if (child.exitCode === null) {
        process.kill(pid, signal)
        await exit
      }
      child.stdin?.end()
    },
  }
}

function environment(): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], HOME: process.env['HOME'], CLASSPATH: `${jars}/*` }
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

async function makeCertificates(folder: string): Promise<void> {
  const at = (name: string): string => join(folder, name)
  await makeAuthority(at('ca'))
  await certify(at('ca'), at('server'), { name: 'localhost', names: 'DNS:localhost' })
  await certify(at('ca'), at('user'), { name: 'user' })
  await writeFile(at('server.pem'), await readFile(at('server.key')))
  await appendFile(at('server.pem'), await readFile(at('server.crt')))
}

const quietLog = `Configuration:
  Appenders: {Console: {name: STDOUT, PatternLayout: {pattern: "[%d] %p %m (%c)%n"}}}
  Loggers: {Root: {level: WARN, AppenderRef: {ref: STDOUT}}}
`

interface Properties {
  folder: string
  number: number
  controller: string
  ports: ReadonlyMap<Listener, number>
  behind: number | undefined
  config: Record<string, string | number>
}

function properties({ folder, number, controller, ports, behind, config }: Properties): string {
  const lines: Record<string, string | number> = {
    'process.roles': number === 1 ? 'broker,controller' : 'broker',
    'node.id': number,
    'controller.quorum.voters': `1@${controller}`,
    'controller.listener.names': 'CONTROLLER',
    listeners: [
      ...[...ports].map(([name, port]) => `${name}://127.0.0.1:${port}`),
      ...(number === 1 ? [`CONTROLLER://${controller}`] : []),
    ].join(','),
    'advertised.listeners': [...ports]
      .map(([name, port]) => `${name}://${hostOf(name)}:${name === 'PLAINTEXT' ? (behind ?? port) : port}`)
      .join(','),
    'listener.security.protocol.map': [
      'CONTROLLER:PLAINTEXT',
      ...listeners.map((name) => `${name}:${protocolOf(name)}`),
    ].join(','),
    'inter.broker.listener.name': 'PLAINTEXT',
    'log.dirs': join(folder, 'log'),
    'num.partitions': 1,
    'auto.create.topics.enable': 'true',
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 1,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'transaction.state.log.num.partitions': 1,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
    'group.initial.rebalance.delay.ms': 0,
    // one that was killed is let in again when its last session is over
    'broker.session.timeout.ms': 2000,
    'broker.heartbeat.interval.ms': 200,
    ...login([...ports.keys()]),
    ...([...ports.keys()].some(isTls)
      ? {
          'listener.name.certified.ssl.client.auth': 'required',
          'ssl.keystore.type': 'PEM',
          'ssl.keystore.location': join(folder, 'server.pem'),
          'ssl.truststore.type': 'PEM',
          'ssl.truststore.location': join(folder, 'ca.crt'),
        }
      : {}),
    ...config,
  }
  return Object.entries(lines)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')
}

function login(names: readonly Listener[]): Record<string, string> {
  const modules = 'org.apache.kafka.common.security'
  const found: Record<string, string> = {}
  for (const name of names) {
    if (!name.startsWith('SASL')) continue
    const prefix = `listener.name.${name.toLowerCase()}`
    found[`${prefix}.sasl.enabled.mechanisms`] = 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512'
    found[`${prefix}.plain.sasl.jaas.config`] =
      `${modules}.plain.PlainLoginModule required user_${user.username}="${user.password}";`
    for (const mechanism of ['scram-sha-256', 'scram-sha-512']) {
      found[`${prefix}.${mechanism}.sasl.jaas.config`] = `${modules}.scram.ScramLoginModule required;`
    }
  }
  return found
}
