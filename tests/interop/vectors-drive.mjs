// Writes what the JavaScript Hyperdrive makes, for the tests of hyper-drive: keys, blocks, listings, paths, block maps.
//
//   HEARTH_TEST_NODE_MODULES=… node vectors-drive.mjs FOLDER     writes drive.json, the same bytes at every run
import { createRequire } from 'node:module';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const modules = process.env.HEARTH_TEST_NODE_MODULES;
const require = createRequire(join(modules, 'x.js'));
const Corestore = require('corestore');
const Hypercore = require('hypercore');
const Hyperbee = require('hyperbee');
const Hyperblobs = require('hyperblobs');
const Hyperdrive = require('hyperdrive');
const SubEncoder = require('sub-encoder');
const crypto = require('hypercore-crypto');
const resolve = require('unix-path-resolve');
const blockMap = require(join(modules, 'hyperblobs/lib/block-map.js'));

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const fill = (byte, length = 32) => Buffer.alloc(length, byte);
const scratch = mkdtempSync(join(tmpdir(), 'vectors-'));
let folders = 0;
const folder = () => join(scratch, String(folders++));

// The content of every file here.
function content(seed, size) {
  const out = Buffer.alloc(size);
  for (let j = 0; j < size; j++) out[j] = (seed + 3 * j + (j >> 8)) & 0xff;
  return out;
}

// Every operation that a writer has, in an order in which each follows from those before.
const operations = [
  { do: 'put', path: '/read me.txt', seed: 1, size: 11 },
  { do: 'put', path: 'no/slash.bin', seed: 2, size: 65536 },
  { do: 'put', path: '/no/../big.bin', seed: 3, size: 200000 },
  { do: 'put', path: '/empty', seed: 0, size: 0 },
  { do: 'put', path: '/bin/run', seed: 4, size: 100, executable: true },
  { do: 'put', path: '/Ümläut/日本/😀"\\u', seed: 5, size: 5, metadata: { z: 1, a: [1.5, -0, 1e30, null, true, '\u0001\u2028\u007f/"\\'], b: { y: 'ö', x: {} } } },
  { do: 'symlink', path: '/link', linkname: '/bin/run' },
  { do: 'symlink', path: '/bin/odd', linkname: '../\u0000"\n\b\u001f\u2029', metadata: 'text' },
  { do: 'symlink', path: '/loop/a', linkname: '/loop/b' },
  { do: 'symlink', path: '/loop/b', linkname: '/loop/a' },
  { do: 'put', path: '/read me.txt', seed: 6, size: 12 },
  { do: 'entry', path: '/big.bin', executable: true, metadata: { kept: true } },
  { do: 'put', path: '/bin/0', seed: 7, size: 3 },
  { do: 'put', path: '/bin/run/below', seed: 8, size: 3 },
  { do: 'put', path: '/gone', seed: 9, size: 30 },
  { do: 'del', path: '/gone' },
  { do: 'del', path: '/never was' },
  { do: 'batch', operations: [
    { do: 'put', path: '/batch/one', seed: 10, size: 10 },
    { do: 'put', path: '/batch/two', seed: 11, size: 70000 },
    { do: 'del', path: '/batch/one' },
    { do: 'symlink', path: '/batch/three', linkname: 'two' },
  ] },
];

async function perform(drive, op) {
  const { path, executable, metadata } = op;
  if (op.do === 'put') await drive.put(path, content(op.seed, op.size), { executable, metadata });
  if (op.do === 'symlink') await drive.symlink(path, op.linkname, { metadata });
  if (op.do === 'entry') await drive.putEntry(path, { ...(await drive.entry(path)).value, executable, metadata });
  if (op.do === 'del') await drive.del(path);
  if (op.do === 'batch') {
    const batch = drive.batch();
    for (const inner of op.operations) await perform(batch, inner);
    await batch.flush();
  }
}

async function blocks(core, from = 0) {
  const out = [];
  for (let i = from; i < core.length; i++) out.push(hex(await core.get(i)));
  return out;
}

// A long core's blocks are known from the operations: their lengths and hash are enough.
async function outline(core) {
  const lengths = [];
  const all = [];
  for (let i = 0; i < core.length; i++) {
    const block = await core.get(i);
    lengths.push(block.length);
    all.push(block);
  }
  return { length: core.length, byteLength: core.byteLength, lengths, hash: hex(crypto.hash(Buffer.concat(all))), treeHash: hex(core.core.state.hash()) };
}

async function collect(stream) {
  const out = [];
  for await (const item of stream) out.push(item);
  return out;
}

async function drive() {
  const store = new Corestore(folder(), { primaryKey: fill(7), unsafe: true });
  const drive = new Hyperdrive(store);
  await drive.ready();
  let beforeBatch = 0;
  for (const op of operations) {
    if (op.do === 'batch') beforeBatch = drive.version;
    await perform(drive, op);
  }
  const blobs = await drive.getBlobs();
  const paths = ['/', '/bin', 'bin/', '/bin/run', '/Ümläut', '/nothing', '/batch'];
  const listings = [];
  for (const path of paths) {
    listings.push({
      path,
      list: (await collect(drive.list(path))).map((entry) => entry.key),
      shallow: (await collect(drive.list(path, { recursive: false }))).map((entry) => entry.key),
      readdir: await collect(drive.readdir(path)),
    });
  }
  const files = [];
  for await (const { seq, key, value } of drive.list('/')) {
    const bytes = value.blob && await drive.get(key);
    files.push({ seq, key, value: JSON.stringify(value), hash: bytes && hex(crypto.hash(bytes)) });
  }
  const follow = [];
  for (const path of ['/link', '/bin/odd', '/loop/a', '/batch/three', '/big.bin', '/nothing']) {
    try {
      follow.push({ path, key: (await drive.entry(path, { follow: true }))?.key ?? null });
    } catch (error) {
      follow.push({ path, error: error.message });
    }
  }
  const diffs = [];
  for (const [from, path] of [[1, '/'], [8, '/bin'], [beforeBatch, '/'], [drive.version, '/']]) {
    const all = await collect(drive.diff(from, path));
    diffs.push({ from, path, diff: all.map(({ left, right }) => ({ left: left && [left.key, left.seq], right: right && [right.key, right.seq] })) });
  }
  const ranges = [];
  for (const range of [{ start: 0, end: 0 }, { start: 65535, end: 65536 }, { start: 199999 }, { start: 70000, length: 70000 }, { start: 131072, length: 1 }, { length: 65536 }]) {
    const bytes = Buffer.concat(await collect(drive.createReadStream('/big.bin', range)));
    ranges.push({ ...range, size: bytes.length, hash: hex(crypto.hash(bytes)) });
  }
  const old = drive.checkout(5);
  const checkout = { version: 5, keys: (await collect(old.list('/'))).map((entry) => entry.key) };
  const out = {
    primaryKey: hex(fill(7)), key: hex(drive.key), contentKey: hex(blobs.core.key), version: drive.version, operations,
    db: await blocks(drive.core), blobs: await outline(blobs.core), blobsLength: await drive.getBlobsLength(), files, listings, follow, diffs, ranges, checkout,
  };
  await drive.close();
  return out;
}

async function keys() {
  const store = new Corestore(folder(), { primaryKey: fill(7), unsafe: true });
  const out = [];
  for (const path of [[], ['app'], ['app', 'inner']]) {
    const space = path.reduce((from, name) => from.namespace(name), store);
    const drive = new Hyperdrive(space.session({ namespace: space.ns }));
    await drive.ready();
    await drive.getBlobs();
    out.push({ path, key: hex(drive.key), contentKey: hex(drive.blobs.core.key) });
    await drive.close();
  }
  await store.close();
  const signer = (seed, namespace) => ({ publicKey: crypto.keyPair(fill(seed)).publicKey, namespace: fill(namespace), signature: 'ed25519' });
  const several = { version: 1, hash: 'blake2b', quorum: 2, allowPatch: true, signers: [signer(1, 8), signer(2, 9), signer(3, 8)], prologue: { hash: fill(4), length: 3 } };
  return { drives: out, several: { seeds: [1, 2, 3], namespaces: [8, 9, 8], key: hex(Hypercore.key(several)), contentKey: hex(Hyperdrive.getContentKey(several)) } };
}

// A drive as hypercore 10 had it: keys are public keys, and the header of the database names the blobs.
async function compat() {
  const db = new Hypercore(folder(), { keyPair: crypto.keyPair(fill(1)), compat: true });
  const core = new Hypercore(folder(), { keyPair: crypto.keyPair(fill(2)), compat: true });
  await core.ready();
  const bee = new Hyperbee(db, { keyEncoding: 'utf-8', valueEncoding: 'json', metadata: { contentFeed: core.key } });
  await bee.ready();
  const keyEncoding = new SubEncoder('files', 'utf-8');
  const blob = await new Hyperblobs(core).put(content(1, 70000));
  await bee.put('/file', { executable: false, linkname: null, blob, metadata: null }, { keyEncoding });
  return { key: hex(db.key), contentKey: hex(core.key), db: await blocks(db), blobs: await outline(core), path: '/file', seed: 1, size: 70000 };
}

async function maps() {
  const core = new Hypercore(folder(), { keyPair: crypto.keyPair(fill(3)) });
  const blobs = new Hyperblobs(core);
  await core.ready();
  const write = async (chunks, options) => {
    const stream = blobs.createWriteStream(options);
    for (const [seed, size] of chunks) stream.write(content(seed, size));
    stream.end();
    await new Promise((done, fail) => stream.on('close', done).on('error', fail));
    return stream.id;
  };
  const cases = [];
  const first = await write([[1, 100], [2, 200], [1, 100], [3, 50]], { dedup: true });
  cases.push({ chunks: [[1, 100], [2, 200], [1, 100], [3, 50]], id: first });
  const second = await write([[2, 200], [4, 10], [1, 100]], { dedup: true, blob: first });
  cases.push({ chunks: [[2, 200], [4, 10], [1, 100]], id: second });
  const third = await write([[5, 65536], [6, 20]], { blockMap: true });
  cases.push({ chunks: [[5, 65536], [6, 20]], id: third });
  for (const one of cases) {
    one.json = JSON.stringify(one.id);
    one.byteLength = await blobs.getByteLength(one.id);
    one.ranges = [];
    for (const range of [{}, { start: 150 }, { start: 99, end: 100 }, { start: 5, length: 200 }, { start: 301, length: 1 }, { length: 300 }]) {
      const bytes = Buffer.concat(await collect(blobs.createReadStream(one.id, range)));
      one.ranges.push({ ...range, size: bytes.length, hash: hex(crypto.hash(bytes)) });
    }
  }
  const many = blockMap.encode({ blocks: Array.from({ length: 8193 }, (_, i) => ({ index: 300 * i, byteLength: 65536 })) });
  return { seed: 3, blocks: await blocks(core), cases, many: many.map((bytes) => ({ length: bytes.length, hash: hex(crypto.hash(bytes)) })) };
}

const attempt = (run) => { try { return run(); } catch { return null; } };
const names = ['/a', 'a', 'a/b/', '//a//b', '/a/./b', '/a/../b', '..', '/..', '/a/../..', '/', '', '.', '/a\\b', '\\a', 'C:\\x\\y', 'C:/x', 'file:/x/y', 'file:///x/y',
  'http://host/x', 'http://host', 'a:', 'ab:/c', 'Ü:/x', '😀:/x', '/a:b', ':/a', '/a/...', '/a\u0000b', '~/x', ' /x', '/a/b:/c', 'a/..'];
const links = [['/a/link', 'x'], ['/a/link', '/x'], ['/a/link', '../x'], ['/a/link', '../../x'], ['/a/link', '../../../x'], ['/a/link', ''], ['/a', '..'], ['/a/b', 'C:\\x'], ['/a/b', './/y/']];

const out = {
  keys: await keys(),
  drive: await drive(),
  compat: await compat(),
  maps: await maps(),
  paths: names.map((name) => ({ name, path: attempt(() => Hyperdrive.normalizePath(name)) })),
  links: links.map(([from, to]) => ({ from, to, path: attempt(() => resolve(from, to)) })),
};
rmSync(scratch, { recursive: true });
writeFileSync(join(process.argv[2], 'drive.json'), `${JSON.stringify(out, null, 1)}\n`);
process.exit(0);
