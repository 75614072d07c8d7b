// A live JavaScript corestore for the tests: cores by name or key, encrypted or not, replicated over TCP.
import net from 'node:net';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load, obey, say } from './peer.mjs';

const Corestore = load('corestore');
const Hypercore = load('hypercore');
const bytes = (text) => Buffer.from(text, 'hex');
const hex = (value) => value.toString('hex');

let store;
const cores = new Map();

function replicate(socket, initiator) {
  const stream = store.replicate(initiator);
  socket.pipe(stream).pipe(socket);
  // A peer that goes away is no failure of the test.
  for (const end of [socket, stream]) end.on('error', () => {});
}

async function opened(core) {
  await core.ready();
  cores.set(hex(core.key), core);
  return { key: hex(core.key), discoveryKey: hex(core.discoveryKey), writable: core.writable };
}

say('ready');
await obey({
  open: async ({ primaryKey }) => {
    store = new Corestore(mkdtempSync(join(tmpdir(), 'corestore-')), { primaryKey: bytes(primaryKey), unsafe: true });
    await store.ready();
  },
  // A core of the store: by name within namespaces, or by key.
  get: async ({ namespaces = [], name, key, encryptionKey }) => {
    const space = namespaces.reduce((from, inner) => from.namespace(inner), store);
    const encryption = encryptionKey ? { key: bytes(encryptionKey) } : null;
    return opened(space.get({ name, key: key ? bytes(key) : undefined, encryption }));
  },
  // A core in the form of hypercore 10. A corestore makes none any more, but keeps those that are there.
  compat: async ({ seed, encryptionKey }) => {
    const keyPair = load('hypercore-crypto').keyPair(bytes(seed));
    const core = Hypercore.createCore(store.storage, { compat: true, key: keyPair.publicKey, keyPair });
    await core.ready();
    await core.close();
    return opened(store.get({ key: core.key, encryption: { key: bytes(encryptionKey) } }));
  },
  // Decrypts a core from here on. hypercore 11.37 breaks when a cipher that was set before learns that its core is a compat one
  // (`_reload` of its default encryption asks for a field that is not there): so a block is fetched first, and with it the manifest.
  decrypt: async ({ key, encryptionKey }) => {
    await cores.get(key).get(0);
    await cores.get(key).setEncryptionKey(bytes(encryptionKey));
  },
  append: async ({ key, blocks }) => ({ length: (await cores.get(key).append(blocks)).length }),
  truncate: async ({ key, length }) => cores.get(key).truncate(length),
  // All blocks, from peers where they are not stored.
  read: async ({ key, length }) => {
    const core = cores.get(key);
    const blocks = [];
    for (let i = 0; i < length; i++) blocks.push(String(await core.get(i)));
    const { byteLength } = await core.info();
    return { blocks, byteLength };
  },
  listen: async () => {
    const server = net.createServer((socket) => replicate(socket, false));
    await new Promise((done) => server.listen(0, '127.0.0.1', done));
    return { port: server.address().port };
  },
  connect: async ({ port }) => replicate(net.connect(port, '127.0.0.1'), true),
});
