// What the program hearth-p2p is tested against: a private DHT, hypertele at either end of a tunnel, a swarm with a corestore.
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { load, obey, say } from './peer.mjs';

const Corestore = load('corestore');
const Hyperswarm = load('hyperswarm');
const createTestnet = load('hyperdht/testnet');

const testnet = await createTestnet(4, { host: '127.0.0.1' });
const { port } = testnet.bootstrap[0];
const children = [];
process.on('exit', () => children.forEach((child) => child.kill()));

// Starts one of hypertele's programs and waits for the first line that it says.
async function hypertele(program, ...options) {
  const child = spawn(process.execPath, [load.resolve(`hypertele/${program}.js`), ...options, '--bootstrap', String(port)]);
  children.push(child);
  child.stderr.pipe(process.stderr);
  for await (const line of createInterface({ input: child.stdout })) return { line };
  throw new Error(`hypertele's ${program} has ended`);
}

const store = new Corestore(mkdtempSync(join(tmpdir(), 'program-')));
const swarm = new Hyperswarm({ bootstrap: testnet.bootstrap });
swarm.on('connection', (connection) => {
  store.replicate(connection);
  connection.on('error', () => {});
});

say('ready', { bootstrap: `127.0.0.1:${port}` });
await obey({
  serve: ({ service, seed }) => hypertele('server', '-l', String(service), '--seed', seed),
  connect: ({ listen, key }) => hypertele('client', '-p', String(listen), '-s', key),
  // A core of ours that the swarm gives.
  seed: async ({ blocks }) => {
    const core = store.get({ name: 'log' });
    await core.append(blocks);
    swarm.join(core.discoveryKey, { server: true, client: false });
    await swarm.flush();
    return { key: core.key.toString('hex') };
  },
  // The blocks of another's core.
  read: async ({ key, length }) => {
    const core = store.get(key);
    await core.ready();
    swarm.join(core.discoveryKey, { server: false, client: true });
    const blocks = [];
    for (let i = 0; i < length; i++) blocks.push(String(await core.get(i)));
    return { blocks };
  },
});
