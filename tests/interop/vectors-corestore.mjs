// Writes what the JavaScript stack computes, for the tests of hyper-core: encrypted blocks, the keys of a corestore, keys as text.
//
//   HEARTH_TEST_NODE_MODULES=… node vectors-corestore.mjs FOLDER     writes corestore.json, the same bytes at every run
import { createRequire } from 'node:module';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const require = createRequire(join(process.env.HEARTH_TEST_NODE_MODULES, 'x.js'));
const Hypercore = require('hypercore');
const Corestore = require('corestore');
const crypto = require('hypercore-crypto');
const id = require('hypercore-id-encoding');

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const fill = (byte, length = 32) => Buffer.alloc(length, byte);
const scratch = mkdtempSync(join(tmpdir(), 'vectors-'));
let folders = 0;
const folder = () => join(scratch, String(folders++));

// Block i of every core here.
function block(i) {
  const out = Buffer.alloc([0, 1, 7, 64, 65, 1000][i % 6]);
  for (let j = 0; j < out.length; j++) out[j] = (i + 3 * j) & 0xff;
  return out;
}

// What one core stores: some blocks, a truncation, some more.
async function encrypted(name, options) {
  const core = new Hypercore(folder(), { keyPair: crypto.keyPair(fill(1)), ...options });
  await core.ready();
  await core.append([0, 1, 2, 3, 4, 5].map(block));
  await core.truncate(4);
  await core.append([block(3), block(5)]);
  await core.truncate(5, 9);
  await core.append(block(4));
  const stored = [];
  for (let i = 0; i < core.length; i++) {
    stored.push({ stored: hex(await core.get(i, { raw: true })), plain: hex(await core.get(i)) });
  }
  const info = await core.info();
  const out = { name, key: hex(core.key), fork: core.fork, padding: core.padding, byteLength: info.byteLength, length: core.length,
    stateByteLength: core.state.byteLength, seek: await core.seek(100), blocks: stored };
  await core.close();
  return out;
}

async function corestore() {
  const store = new Corestore(folder(), { primaryKey: fill(7), unsafe: true });
  await store.ready();
  const names = ['', 'db', 'blobs', 'ein Name mit Ümläuten', 'x'.repeat(300)];
  const paths = [[], ['app'], ['app', 'inner'], ['']];
  const cores = [];
  for (const path of paths) {
    const space = path.reduce((from, name) => from.namespace(name), store);
    for (const name of names) {
      const pair = await space.createKeyPair(name);
      const entry = { path, name, namespace: hex(space.ns), publicKey: hex(pair.publicKey) };
      if (name !== '') {
        const core = space.get({ name });
        await core.ready();
        Object.assign(entry, { key: hex(core.key), discoveryKey: hex(core.discoveryKey) });
        await core.append('one');
        entry.writableByKey = await writableByKey(store, core.key);
        await core.close();
      }
      cores.push(entry);
    }
  }
  const pair = crypto.keyPair(fill(3));
  const given = store.get({ keyPair: pair });
  await given.ready();
  const byPair = { seed: hex(fill(3)), key: hex(given.key), writable: given.writable };
  await store.close();
  return { primaryKey: hex(fill(7)), cores, byPair };
}

async function writableByKey(store, key) {
  const core = store.get({ key });
  await core.ready();
  const { writable } = core;
  await core.close();
  return writable;
}

const key = crypto.keyPair(fill(1)).publicKey;
const accepted = (text) => { try { return hex(id.decode(text)); } catch { return null; } };
const text = id.encode(key);
const out = {
  encryption: {
    encryptionKey: hex(fill(5)),
    seed: hex(fill(1)),
    cores: [
      await encrypted('default', { encryption: { key: fill(5) } }),
      await encrypted('compat', { compat: true, encryption: { key: fill(5) } }),
      await encrypted('block key', { encryption: { key: fill(5), block: true } }),
    ],
    blockKey: hex(Hypercore.blockEncryptionKey(key, fill(5))),
  },
  corestore: await corestore(),
  text: {
    keys: [fill(0), fill(255), key, Buffer.from(Array.from({ length: 32 }, (_, i) => 7 * i))].map((k) => ({ hex: hex(k), z32: id.encode(k) })),
    accepted: [text, hex(key), hex(key).toUpperCase(), `pear://${text}`, `pear://${hex(key)}/a/b`, `hyper://${text}`, text.toUpperCase(),
      text.slice(1), `${text}y`, hex(key).slice(2), ` ${text}`, text.replace(/^./, 'l'), `g${hex(key).slice(1)}`, '']
      .map((t) => ({ text: t, key: accepted(t) })),
  },
};
rmSync(scratch, { recursive: true });
writeFileSync(join(process.argv[2], 'corestore.json'), `${JSON.stringify(out, null, 1)}\n`);
