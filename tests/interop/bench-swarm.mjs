// Measures what a user of the whole JavaScript stack gets: a core found by its topic in a private DHT on loopback, 256 MiB in blocks of
// 64 KiB over UDX, from one process to another.
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load } from './peer.mjs';

const Hypercore = load('hypercore');
const Hyperswarm = load('hyperswarm');
const DHT = load('hyperdht');
const createTestnet = load('hyperdht/testnet');

const blocks = Number(process.argv[2] ?? 4096);
const bytes = 65536;
const folder = mkdtempSync(join(tmpdir(), 'bench-swarm-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

if (process.argv[3] === 'seed') {
  const { bootstrap } = await createTestnet(3, { host: '127.0.0.1' });
  const core = new Hypercore(folder);
  await core.ready();
  for (let at = 0; at < blocks; at += 64) {
    const batch = [];
    for (let i = at; i < Math.min(at + 64, blocks); i++) {
      const block = Buffer.allocUnsafe(bytes);
      for (let j = 0; j + 4 <= bytes; j += 4) block.writeUInt32LE((Math.imul(i + 1, 2654435761) ^ Math.imul(j, 40503)) >>> 0, j);
      batch.push(block);
    }
    await core.append(batch);
  }
  const swarm = new Hyperswarm({ dht: new DHT({ bootstrap, host: '127.0.0.1' }) });
  swarm.on('connection', (connection) => core.replicate(connection));
  await swarm.join(core.discoveryKey).flushed();
  process.send({ bootstrap, key: core.key.toString('hex') });
  process.on('disconnect', () => process.exit(0));
} else {
  const seeder = fork(process.argv[1], [blocks, 'seed']);
  const { bootstrap, key } = await new Promise((resolve) => seeder.once('message', resolve));
  const core = new Hypercore(folder, Buffer.from(key, 'hex'));
  await core.ready();
  const begun = performance.now();
  const swarm = new Hyperswarm({ dht: new DHT({ bootstrap, host: '127.0.0.1' }) });
  // The first connection may stall and be replaced by another one to the same peer: all of them replicate, and the transfer is timed
  // from its first block on.
  let connected;
  let started;
  swarm.on('connection', (connection) => {
    connected ??= performance.now();
    core.replicate(connection);
  });
  core.once('download', () => { started = performance.now(); });
  swarm.join(core.discoveryKey, { server: false, client: true });
  await core.download({ start: 0, end: blocks }).done();
  console.log(JSON.stringify({ what: 'swarm-connect', ms: connected - begun }));
  const seconds = (performance.now() - started) / 1000;
  console.log(JSON.stringify({ what: 'replicate-udx', mib_per_s: blocks * bytes / 1048576 / seconds }));
  seeder.disconnect();
  process.exit(0);
}
