// Writes what the JavaScript peer puts on the wire, for the tests of hyper-core: replication messages and streams of its mux.
//
//   HEARTH_TEST_NODE_MODULES=… node vectors-wire.mjs FOLDER
//
// The same bytes at every run.
import { createRequire } from 'node:module';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const modules = process.env.HEARTH_TEST_NODE_MODULES;
const require = createRequire(join(modules, 'x.js'));
const c = require('compact-encoding');
const { wire, manifest: manifestEncoding } = require(join(modules, 'hypercore/lib/messages.js'));
const versions = Object.fromEntries(['hypercore', 'protomux', 'compact-encoding']
  .map((name) => [name, require(join(modules, name, 'package.json')).version]));

const folder = process.argv[2];
const hex = (bytes) => Buffer.from(bytes).toString('hex');
const fill = (length, byte) => Buffer.alloc(length, byte);

// A fixed sequence of pseudo-random 32-bit numbers (xorshift).
let seed = 0x9e3779b9;
function random(below) {
  seed ^= seed << 13; seed ^= seed >>> 17; seed ^= seed << 5;
  return (seed >>> 0) % below;
}

const KINDS = ['sync', 'request', 'cancel', 'data', 'noData', 'want', 'unwant', 'bitfield', 'range', 'extension'];
const MAX = Number.MAX_SAFE_INTEGER;

function plain(value) {
  if (value === null || value === undefined) return null;
  if (value instanceof Uint32Array) return [...value];
  if (value instanceof Uint8Array) return hex(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) =>
    [key, key === 'manifest' && inner && typeof inner === 'object' ? hex(c.encode(manifestEncoding, inner)) : plain(inner)]));
}

// ---- messages ----

const node = (index, size, byte) => ({ index, size, hash: fill(32, byte) });
const nodes = [node(0, 10, 1), node(253, 65536, 2), node(MAX, MAX, 3)];
const signer = (byte) => ({ signature: 'ed25519', namespace: fill(32, byte), publicKey: fill(32, byte + 1) });
const manifests = [
  { version: 1, hash: 'blake2b', allowPatch: false, quorum: 1, signers: [signer(7)], prologue: null, linked: null, userData: null },
  { version: 2, hash: 'blake2b', allowPatch: true, quorum: 2, signers: [signer(7), signer(9), signer(11)],
    prologue: { hash: fill(32, 13), length: 300 }, linked: [fill(32, 14), fill(32, 15)], userData: Buffer.from('user data') },
  { version: 0, hash: 'blake2b', allowPatch: false, quorum: 1, signers: [signer(7)], prologue: null, linked: null, userData: null },
];
const noParts = { block: null, hash: null, seek: null, upgrade: null };

const values = {
  sync: [
    { fork: 0, length: 0, remoteLength: 0, canUpgrade: true, uploading: true, downloading: true, hasManifest: false, allowPush: false },
    { fork: 252, length: 253, remoteLength: 65535, canUpgrade: false, uploading: false, downloading: false, hasManifest: true, allowPush: true },
    { fork: 65536, length: 0xffffffff, remoteLength: MAX, canUpgrade: false, uploading: true, downloading: false, hasManifest: false, allowPush: false },
  ],
  request: [
    { id: 1, fork: 0, ...noParts, block: { index: 1000, nodes: 4 }, manifest: false, priority: 0 },
    { id: 2, fork: 1, ...noParts, hash: { index: 7, nodes: 0 }, manifest: false, priority: 1 },
    { id: 3, fork: 0, ...noParts, seek: { bytes: 0x100000000, padding: 8 }, manifest: false, priority: 0 },
    { id: 4, fork: 0, ...noParts, upgrade: { start: 0, length: 100000 }, manifest: true, priority: 0 },
    { id: MAX, fork: MAX, block: { index: 1, nodes: 2 }, hash: { index: 3, nodes: 4 }, seek: { bytes: 5, padding: 6 },
      upgrade: { start: 7, length: 8 }, manifest: true, priority: 2 },
    { id: 0, fork: 0, ...noParts, manifest: false, priority: 255 },
  ],
  cancel: [{ request: 0 }, { request: 70000 }],
  data: [
    { request: 1, fork: 0, ...noParts, block: { index: 3, value: Buffer.from('a block'), nodes }, manifest: null },
    { request: 1, fork: 0, ...noParts, block: { index: 0, value: Buffer.alloc(0), nodes: [] }, manifest: null },
    { request: 2, fork: 9, ...noParts, hash: { index: 11, nodes }, manifest: null },
    { request: 3, fork: 0, ...noParts, seek: { bytes: 12345, nodes: nodes.slice(1) }, manifest: null },
    { request: 0, fork: 0, ...noParts, upgrade: { start: 1, length: 2, nodes, additionalNodes: [nodes[0]], signature: fill(101, 5) }, manifest: null },
    { request: 0, fork: 0, ...noParts, upgrade: { start: 0, length: 300, nodes: [], additionalNodes: [], signature: null }, manifest: null },
    ...manifests.map((manifest) => ({ request: 5, fork: 0, ...noParts, manifest })),
    { request: 300, fork: 2, block: { index: 1, value: fill(300, 8), nodes }, hash: { index: 4, nodes: [] }, seek: { bytes: 0, nodes: [] },
      upgrade: { start: 1, length: 2, nodes: [], additionalNodes: [], signature: fill(64, 6) }, manifest: manifests[0] },
  ],
  noData: [{ request: 1, reason: 0 }, { request: 2, reason: 1 }, { request: 300, reason: 2 }, { request: 1, reason: 9 }],
  want: [{ start: 0, length: 2097152, any: false }, { start: 2097152, length: 32, any: true }],
  unwant: [{ start: 0, length: 2097152, any: false }, { start: MAX, length: MAX, any: true }],
  bitfield: [{ start: 0, bitfield: new Uint32Array([1, 0xffffffff, 0x01020304]) }, { start: 32768, bitfield: new Uint32Array(0) }],
  range: [{ drop: false, start: 0, length: 1 }, { drop: true, start: 5, length: 1 }, { drop: false, start: 0, length: 0 },
    { drop: true, start: 300, length: 70000 }],
  extension: [{ name: 'hello', message: Buffer.from('world') }, { name: '', message: Buffer.alloc(0) }, { name: 'größe', message: fill(9, 0) }],
};

function decoded(encoding, bytes) {
  const state = { start: 0, end: bytes.length, buffer: bytes };
  try { return { value: plain(encoding.decode(state)), read: state.start }; } catch { return { value: null }; }
}

const messages = [];
for (const [kind, name] of KINDS.entries()) {
  for (const value of values[name]) messages.push({ kind, hex: hex(c.encode(wire[name], value)), value: plain(value) });
}
const handshakes = [true, false].map((seeks) => {
  const value = { seeks, capability: fill(32, 0xab) };
  return { hex: hex(c.encode(wire.handshake, value)), value: plain(value) };
});

// What the peer makes of damaged, cut and lengthened messages: `value` null where it gives up. Manifests are left out (they are
// not read with the message), and so are texts that are no UTF-8 (the peer replaces what it cannot read).
const damaged = [];
for (const { kind, hex: good, value } of messages) {
  if (kind === 3 && value.manifest !== null) continue;
  const whole = Buffer.from(good, 'hex');
  const cuts = [whole.subarray(0, whole.length - 1), whole.subarray(0, random(whole.length)), Buffer.concat([whole, fill(3, 1)])];
  for (let i = 0; i < 4; i++) {
    const flipped = Buffer.from(whole);
    flipped[random(Math.min(flipped.length, i < 3 ? 6 : 1000))] = [0xfc, 0xfd, 0xfe, 0xff, 0, 1, random(256)][random(7)];
    cuts.push(flipped);
  }
  for (const bytes of cuts) {
    const copy = Buffer.from(new Uint8Array(bytes)); // aligned, nothing behind it
    const { value } = decoded(wire[KINDS[kind]], copy);
    if (kind === 9 && value !== null && value.name.includes('\ufffd')) continue;
    if (kind === 3 && (bytes[0] & 16)) continue;
    damaged.push({ kind, hex: hex(bytes), value });
  }
}

writeFileSync(join(folder, 'wire-messages.json'), lines({ versions, handshakes, messages, damaged }));

// One entry a line: a change shows in a diff.
function lines(object) {
  const parts = Object.entries(object).map(([key, value]) => `${JSON.stringify(key)}:` +
    (Array.isArray(value) ? `[\n${value.map((entry) => JSON.stringify(entry)).join(',\n')}\n]` : JSON.stringify(value)));
  return `{${parts.join(',\n')}}\n`;
}
