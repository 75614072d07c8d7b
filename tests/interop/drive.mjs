// A JavaScript peer with one drive, over TCP: it puts, reads, lists and clears as it is told.
import { createServer, connect } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load, obey, say } from './peer.mjs';

const Corestore = load('corestore');
const Hyperdrive = load('hyperdrive');
const NoiseSecretStream = load('@hyperswarm/secret-stream');

const folder = mkdtempSync(join(tmpdir(), 'drive-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

let store = null;
let drive = null;

/** The content that both sides know how to make: byte j of MiB k. */
function mebibyte(seed, k) {
  const out = Buffer.alloc(1 << 20);
  for (let j = 0; j < out.length; j++) out[j] = (seed + k + 3 * j + (j >> 8)) & 0xff;
  return out;
}

function* content(seed, size) {
  for (let k = 0; k * (1 << 20) < size; k++) yield mebibyte(seed, k).subarray(0, Math.min(1 << 20, size - k * (1 << 20)));
}

async function write(stream, seed, size) {
  const end = new Promise((resolve, reject) => stream.on('close', resolve).on('error', reject));
  for (const part of content(seed, size)) {
    for (let at = 0; at < part.length; at += 65536) {
      if (!stream.write(part.subarray(at, at + 65536))) await new Promise((resolve) => stream.once('drain', resolve));
    }
  }
  stream.end();
  await end;
}

function attach(isInitiator, socket) {
  const stream = new NoiseSecretStream(isInitiator, socket);
  stream.on('error', (error) => say('closed', { message: error.message }));
  store.replicate(stream);
}

async function stored() {
  const { core } = await drive.getBlobs();
  let count = 0;
  for (let i = 0; i < core.length; i++) if (await core.has(i)) count++;
  return count;
}

const collect = async (stream) => { const out = []; for await (const item of stream) out.push(item); return out; };

await obey({
  open: async ({ key }) => {
    store = new Corestore(join(folder, 'store'));
    drive = new Hyperdrive(store, key ? Buffer.from(key, 'hex') : null);
    await drive.ready();
    return { key: drive.key.toString('hex') };
  },
  listen: () => new Promise((resolve) => {
    const server = createServer((socket) => attach(false, socket));
    server.listen(0, '127.0.0.1', () => resolve({ port: server.address().port }));
  }),
  connect: ({ port }) => { attach(true, connect(port, '127.0.0.1')); },
  fill: async ({ files }) => {
    const batch = drive.batch();
    for (let i = 0; i < files; i++) await batch.put(`/small/${i % 10}/${i}`, mebibyte(i, 0).subarray(0, i), { executable: i % 2 === 1 });
    await batch.flush();
  },
  put: async ({ path, seed, size, dedup = false }) => write(drive.createWriteStream(path, { dedup }), seed, size),
  symlink: ({ path, target }) => drive.symlink(path, target),
  del: ({ path }) => drive.del(path),
  until: async ({ path, gone = false }) => {
    const watcher = drive.watch('/');
    if ((await drive.exists(path)) !== gone) return;
    for await (const _ of watcher) if ((await drive.exists(path)) !== gone) break;
  },
  follow: async ({ path }) => ({ key: (await drive.entry(path, { follow: true }))?.key ?? null }),
  list: async ({ path }) => {
    const hash = createHash('sha256');
    const entries = await collect(drive.list(path));
    for (const { key, value } of entries) hash.update(`${key} ${value.executable} ${value.linkname} ${value.blob?.byteLength}\n`);
    return { count: entries.length, hash: hash.digest('hex') };
  },
  read: async ({ path, start = 0, length }) => {
    const hash = createHash('sha256');
    let size = 0;
    for await (const part of drive.createReadStream(path, { start, length })) { hash.update(part); size += part.length; }
    return { size, hash: hash.digest('hex') };
  },
  download: async ({ path }) => { const download = drive.download(path); await download.done(); return { stored: await stored() }; },
  clear: async ({ path }) => { await drive.clear(path); return { stored: await stored() }; },
  stored: async () => ({ stored: await stored(), length: (await drive.getBlobs()).core.length }),
});
