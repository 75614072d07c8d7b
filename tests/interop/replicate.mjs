// A JavaScript peer of one core over TCP: it writes, reads, cuts and clears as it is told. Argument: the folder of its storage.
import { createServer, connect } from 'node:net';
import { load, obey, say } from './peer.mjs';

const Hypercore = load('hypercore');
const NoiseSecretStream = load('@hyperswarm/secret-stream');
const crypto = load('hypercore-crypto');

const folder = process.argv[2];

let core = null;
// hypercore prints a line about a conflict, among ours.
console.log = console.error;

let downloads = [];
const extensions = new Map();

/** The block that both sides know how to make. */
function block(number, bytes) {
  const out = Buffer.alloc(bytes);
  out.write(`block ${number} `);
  return out;
}

function attach(isInitiator, socket) {
  const stream = new NoiseSecretStream(isInitiator, socket);
  stream.on('error', (error) => say('closed', { message: error.message }));
  core.replicate(stream);
}

const info = () => ({
  key: core.key.toString('hex'),
  length: core.length,
  fork: core.fork,
  byteLength: core.byteLength,
  contiguous: core.contiguousLength,
  peers: core.peers.length,
});

await obey({
  open: async ({ key, compat = false, seed, distrusts = false }) => {
    const keyPair = seed === undefined ? undefined : crypto.keyPair(Buffer.alloc(32, seed));
    core = new Hypercore(folder, key ? Buffer.from(key, 'hex') : null, { compat, keyPair });
    core.on('verification-error', (error) => say(distrusts ? 'refused' : 'error', { message: `verification: ${error.stack}` }));
    core.on('conflict', (length, fork) => say('conflict', { length, fork }));
    core.on('invalid-request', (error) => say('error', { message: `invalid request: ${error.stack}` }));
    await core.ready();
    return info();
  },
  listen: () => new Promise((resolve) => {
    const server = createServer((socket) => attach(false, socket));
    server.listen(0, '127.0.0.1', () => resolve({ port: server.address().port }));
  }),
  connect: ({ port }) => { attach(true, connect(port, '127.0.0.1')); },
  append: async ({ from, count, bytes }) => {
    for (let at = from; at < from + count; at += 1000) {
      const batch = [];
      for (let i = at; i < Math.min(at + 1000, from + count); i++) batch.push(block(i, bytes));
      await core.append(batch);
    }
    return info();
  },
  append_text: async ({ blocks }) => { await core.append(blocks.map((text) => Buffer.from(text))); return info(); },
  truncate: async ({ length }) => { await core.truncate(length); return info(); },
  clear: async ({ start, end }) => { await core.clear(start, end); return info(); },
  get: async ({ blocks }) => ({ values: await Promise.all(blocks.map(async (at) => (await core.get(at, { timeout: 30000 })).toString())) }),
  has: async ({ start, end }) => ({ has: await core.has(start, end) }),
  seek: async ({ bytes }) => ({ found: await core.seek(bytes) }),
  update: async () => ({ grew: await core.update({ wait: true }), ...info() }),
  download: ({ start, end, linear = false }) => { downloads.push(core.download({ start, end, linear })); },
  done: async () => { await Promise.all(downloads.map((download) => download.done())); downloads = []; return info(); },
  tree: async () => ({ hash: (await core.treeHash()).toString('hex') }),
  until: async ({ length, fork = 0 }) => {
    while (core.length < length || core.fork < fork) await new Promise((resolve) => core.once('append', resolve) && core.once('truncate', resolve));
    return info();
  },
  extension: ({ name, encoding }) => {
    const onmessage = (message, peer) => say('heard', { name, from: peer.remotePublicKey.toString('hex'), text: message.toString() });
    extensions.set(name, core.registerExtension(name, { encoding, onmessage }));
  },
  say: ({ name, to, texts }) => {
    const peer = core.peers.find((peer) => peer.remotePublicKey.toString('hex') === to);
    for (const text of texts) extensions.get(name).send(Buffer.from(text), peer);
  },
  broadcast: ({ name, text }) => { extensions.get(name).broadcast(Buffer.from(text)); },
  info,
});
