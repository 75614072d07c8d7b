// Records a conversation of two udx-native streams on loopback, through a proxy that loses one packet, as JSON on
// standard output:
//
//   HEARTH_TEST_NODE_MODULES=FOLDER node vectors-udx.mjs > system-services/hyper-swarm/tests/vectors/udx.json
//
// What is written is always the same; how it is cut into packets and acknowledged depends on the moment.
import dgram from 'node:dgram';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.env.HEARTH_TEST_NODE_MODULES, 'x.js'));
const UDX = require('udx-native');

const pattern = (length) => Buffer.from(Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 255));
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const WRITTEN = 16_000;

const udx = new UDX();
const sockets = [udx.createSocket(), udx.createSocket()];
sockets.forEach((socket) => socket.bind(0, '127.0.0.1'));
const ports = sockets.map((socket) => socket.address().port);

// One proxy socket per side: what comes in at proxies[0] is from the first stream.
const proxies = [dgram.createSocket('udp4'), dgram.createSocket('udp4')];
await Promise.all(proxies.map((proxy) => new Promise((done) => proxy.bind(0, '127.0.0.1', done))));
const packets = [];
let data = 0;
proxies.forEach((proxy, from) => proxy.on('message', (bytes) => {
  const lost = from === 0 && (bytes[2] & 1) === 1 && ++data === 6;
  packets.push({ from, lost, bytes: bytes.toString('hex') });
  if (!lost) proxies[1 - from].send(bytes, ports[1 - from], '127.0.0.1');
}));

const streams = [udx.createStream(0x01020304, { seq: 0xfffffffb }), udx.createStream(0x7fffffff)];
streams[0].connect(sockets[0], 0x7fffffff, proxies[0].address().port, '127.0.0.1');
streams[1].connect(sockets[1], 0x01020304, proxies[1].address().port, '127.0.0.1', { ack: 0xfffffffb });
let heard = 0;
streams[1].on('data', (bytes) => { heard += bytes.length; });
streams.forEach((stream) => stream.on('error', () => {}));

// In pieces, so that the path is probed with packets of every size.
for (let at = 0; at < WRITTEN; at += 4000) {
  streams[0].write(pattern(WRITTEN).subarray(at, at + 4000));
  await sleep(100);
}
while (heard < WRITTEN) await sleep(10);
await streams[0].send(pattern(50));
await sleep(100);
streams[1].setKeepalive(100);
await streams[1].write(Buffer.from('x'));
await sleep(400);
streams[0].end();
await sleep(200);
streams[1].destroy();
await sleep(100);

const text = JSON.stringify({ written: WRITTEN, message: 50, ids: streams.map((stream) => stream.id), packets }, null, 1);
process.stdout.write(`${text}\n`, () => process.exit(0));
