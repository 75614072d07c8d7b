// How fast the JavaScript peer's secret stream is on loopback, over UDX and over TCP, from one process to another: the same as hyper-swarm's example bench_stream.
// node bench-stream.mjs [MiB [program that receives, with arguments]], with HEARTH_TEST_NODE_MODULES naming a node_modules folder.
import { createRequire } from 'node:module'
import { spawn } from 'node:child_process'
import net from 'node:net'
import readline from 'node:readline'
import { fileURLToPath } from 'node:url'

const require = createRequire(process.env.HEARTH_TEST_NODE_MODULES + '/')
const UDX = require('udx-native')
const SecretStream = require('@hyperswarm/secret-stream')

const MESSAGE_BYTES = 64 << 10
const localhost = '127.0.0.1'
const lines = (stream) => readline.createInterface({ input: stream })[Symbol.asyncIterator]()
const nextPair = async (of) => (await of.next()).value.split(' ').map(Number)

function udxEnd () {
  const udx = new UDX()
  const socket = udx.createSocket()
  socket.bind(0, localhost)
  const id = 1 + Math.floor(Math.random() * 0x7fffffff)
  return { socket, id, port: socket.address().port, stream: udx.createStream(id) }
}

async function receive (what) {
  let raw
  if (what === 'tcp') {
    raw = await new Promise((resolve) => {
      const server = net.createServer((stream) => { server.close(); resolve(stream) })
      server.listen(0, localhost, () => console.log(`${server.address().port} 0`))
    })
    raw.setNoDelay(true)
  } else {
    const end = udxEnd()
    console.log(`${end.port} ${end.id}`)
    const [port, id] = await nextPair(lines(process.stdin))
    end.stream.connect(end.socket, id, port, localhost)
    raw = end.stream
  }
  const stream = new SecretStream(false, raw)
  let bytes = 0
  stream.on('data', (data) => {
    bytes += data.byteLength
    if (data.byteLength === 3) stream.write(Buffer.from(String(bytes)))
  })
  stream.on('end', () => stream.end())
  stream.on('error', () => {})
  stream.on('close', () => process.exit(0))
}

async function reach (what, child) {
  const [port, id] = await nextPair(lines(child.stdout))
  if (what === 'tcp') {
    const raw = net.connect(port, localhost)
    raw.setNoDelay(true)
    return new SecretStream(true, raw)
  }
  const end = udxEnd()
  child.stdin.write(`${end.port} ${end.id}\n`)
  end.stream.connect(end.socket, id, port, localhost)
  return new SecretStream(true, end.stream)
}

async function measure (what, mib, receiver) {
  const [program, ...args] = receiver.length > 0 ? receiver : [process.execPath, fileURLToPath(import.meta.url)]
  const child = spawn(program, [...args, '--receive', what], { stdio: ['pipe', 'pipe', 'inherit'] })
  const stream = await reach(what, child)
  stream.on('error', () => {})
  await stream.opened
  const start = performance.now()
  for (let sent = 0; sent < mib << 20; sent += MESSAGE_BYTES) {
    if (stream.write(Buffer.alloc(MESSAGE_BYTES, 7)) === false) await new Promise((resolve) => stream.once('drain', resolve))
  }
  stream.write(Buffer.from('end'))
  await new Promise((resolve) => stream.once('data', resolve))
  const rate = mib / ((performance.now() - start) / 1000)
  console.log(JSON.stringify({ what: `secret-stream-${what}`, mib_per_s: Number(rate.toFixed(1)) }))
  stream.destroy()
  child.kill()
}

const [first, second, ...others] = process.argv.slice(2)
if (first === '--receive') {
  await receive(second)
} else {
  for (const what of ['udx', 'tcp']) await measure(what, Number(first ?? 256), second ? [second, ...others] : [])
  process.exit(0)
}
