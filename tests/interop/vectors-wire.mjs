// Writes what the JavaScript peer puts on the wire, for the tests of hyper-core: replication messages and streams of its mux.
//
//   HEARTH_TEST_NODE_MODULES=… node vectors-wire.mjs FOLDER
//
// The same bytes at every run.
import { createRequire } from 'node:module';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const modules = process.env.HEARTH_TEST_NODE_MODULES;
const require = createRequire(join(modules, 'x.js'));
// The peer asks in random order.
let chance = 0x2545f491;
Math.random = () => { chance ^= chance << 13; chance ^= chance >>> 17; chance ^= chance << 5; return (chance >>> 0) / 2 ** 32; };
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

// ---- streams of the mux ----
//
// Two real muxes with a wire between them. What each was told, what it sent for it and what it reported is a transcript, which
// the Rust mux must repeat.

const Protomux = require('protomux');
const { EventEmitter } = require('node:events');

class Wire extends EventEmitter {
  userData = null; destroyed = false; sent = [];
  write(frame) { this.sent.push(Buffer.from(frame)); return true; }
  pause() {} resume() {} end() {}
  destroy() { this.destroyed = true; }
}

const settle = async () => { for (let i = 0; i < 4; i++) await new Promise(setImmediate); };
const raw = { preencode: c.raw.preencode, encode: c.raw.encode, decode: (state) => Buffer.from(c.raw.decode(state)) };

class Side {
  wire = new Wire(); mux = new Protomux(this.wire); channels = new Map(); log = []; events = []; outbox = []; serial = 0;

  create({ protocol, aliases = [], id, handshake, unique = true }) {
    const name = `${protocol}/${id}#${this.serial}`;
    const note = (what, more) => this.events.push({ event: what, channel: name, ...more });
    const channel = this.mux.createChannel({
      protocol, aliases, id: id ? Buffer.from(id) : null, unique, handshake: raw,
      messages: [0, 1, 2].map((kind) => ({ encoding: raw, onmessage: (m) => note('message', { kind, payload: hex(m) }) })),
      onopen: (m) => note('opened', { handshake: hex(m) }),
      onclose: (byPeer) => { if (byPeer) note('closed', { rejected: !channel.opened }); },
    });
    if (channel === null) return null;
    this.serial++;
    this.channels.set(name, channel);
    channel.open(Buffer.from(handshake));
    return name;
  }

  run(op) {
    const channel = op.channel && this.channels.get(op.channel);
    switch (op.op) {
      case 'pair':
        return this.mux.pair({ protocol: op.protocol, id: op.id ? Buffer.from(op.id) : null }, (id) => {
          const asked = { protocol: op.protocol, id: id ? id.toString() : '' };
          this.events.push({ event: 'requested', channel: `${asked.protocol}/${asked.id}` });
          if (op.accept) this.create({ ...asked, handshake: 'accepted' });
        });
      case 'open': return this.create(op);
      case 'send': return channel.messages[op.kind].send(Buffer.from(op.payload, 'hex'));
      case 'close': return channel.close();
      case 'cork': return this.mux.cork();
      case 'uncork': return this.mux.uncork();
      case 'feed': return this.wire.emit('data', Buffer.from(op.frame, 'hex'));
    }
  }

  async step(op) {
    const result = this.run(op);
    await settle();
    const sends = this.wire.sent.splice(0);
    this.outbox.push(...sends);
    const events = this.events.splice(0);
    const opened = op.op === 'open' ? { opened: result } : {};
    this.log.push({ ...op, ...opened, sends: sends.map(hex), events, broken: this.wire.destroyed });
    return result;
  }
}

const transcripts = [];
async function scene(name, play) {
  const a = new Side(), b = new Side();
  const pass = async (from, to, count = 1) => {
    for (; count > 0 && from.outbox.length > 0; count--) await to.step({ op: 'feed', frame: hex(from.outbox.shift()) });
  };
  const deliver = async () => { while (a.outbox.length + b.outbox.length > 0) { await pass(a, b, 1e9); await pass(b, a, 1e9); } };
  await play({ a, b, pass, deliver });
  for (const side of ['a', 'b']) transcripts.push({ name: `${name}, ${side}`, steps: (side === 'a' ? a : b).log });
}

const open = (protocol, id = '', handshake = 'hello', more = {}) => ({ op: 'open', protocol, id, handshake, ...more });
const send = (channel, kind, text) => ({ op: 'send', channel, kind, payload: hex(Buffer.from(text)) });
const close = (channel) => ({ op: 'close', channel });
const pair = (protocol, id = '', accept = true) => ({ op: 'pair', protocol, id, accept });

await scene('open, talk, close, open again', async ({ a, b, deliver }) => {
  await b.step(pair('chat'));
  for (const round of [0, 1]) {
    const channel = await a.step(open('chat', '', `round ${round}`));
    await a.step(send(channel, 0, 'before the answer'));
    await a.step(send(channel, 2, ''));
    await deliver();
    await b.step(send(`chat/#${round}`, 1, 'x'.repeat(300)));
    await deliver();
    await (round ? a : b).step(close(round ? channel : `chat/#${round}`));
    await deliver();
  }
});
await scene('both open at once and close at once', async ({ a, b, deliver }) => {
  for (const id of ['one', 'two', 'one']) {
    const ends = [await a.step(open('p', id, 'from a')), await b.step(open('p', id, 'from b'))];
    await a.step(send(ends[0], 0, 'a')); await b.step(send(ends[1], 0, 'b'));
    await deliver();
    await a.step(close(ends[0])); await b.step(close(ends[1]));
    await deliver();
  }
});
await scene('rejected', async ({ a, b, deliver }) => {
  await b.step(pair('p', 'seen', false));
  const [one, two] = [await a.step(open('unknown')), await a.step(open('p', 'seen'))];
  await a.step(send(one, 0, 'lost')); await a.step(send(two, 0, 'lost'));
  await deliver();
  await a.step(open('p', 'again')); await a.step(open('p', 'again'));
  await deliver();
});
await scene('closed before the answer', async ({ a, b, pass, deliver }) => {
  await b.step(pair('p'));
  await a.step(close(await a.step(open('p', '1'))));
  await deliver();
  await a.step(close(await a.step(open('unknown'))));
  await a.step(open('q'));
  await deliver();
  // The other end had opened already.
  const other = await b.step(open('p', '2'));
  await a.step(close(await a.step(open('p', '2'))));
  await b.step(send(other, 1, 'too late'));
  await deliver();
  await a.step(open('p', '3'));
  await pass(a, b);
  await deliver();
});
await scene('aliases', async ({ a, b, deliver }) => {
  const id = 'the discovery key of some core 32';
  await a.step(open('hypercore/alpha', id, '', { aliases: ['hypercore'] }));
  const old = await b.step(open('hypercore', id, 'old', { aliases: ['hypercore/alpha'] }));
  await deliver();
  await b.step(send(old, 0, 'hi'));
  await b.step(close(old));
  await deliver();
});
await scene('corked', async ({ a, b, deliver }) => {
  await b.step(pair('p')); await b.step(pair('q', 'x', false));
  await a.step({ op: 'cork' });
  const one = await a.step(open('p', '1')), two = await a.step(open('p', '2'));
  await a.step(open('r')); await a.step(open('q', 'x'));
  for (const channel of [one, one, two, one]) await a.step(send(channel, 1, 'y'.repeat(260)));
  await a.step({ op: 'cork' }); await a.step({ op: 'uncork' });
  await a.step({ op: 'uncork' });
  await deliver();
  await a.step({ op: 'cork' }); await a.step(send(two, 0, 'alone')); await a.step({ op: 'uncork' });
  await a.step({ op: 'cork' }); await a.step({ op: 'uncork' });
  await deliver();
  await a.step({ op: 'cork' }); await a.step(send(two, 0, 'last')); await a.step(close(two)); await a.step(close(one));
  await a.step({ op: 'uncork' });
  await deliver();
});
await scene('several of one name', async ({ a, b, deliver }) => {
  const many = { unique: false };
  const ours = [], theirs = [];
  for (let i = 0; i < 3; i++) ours.push(await a.step(open('m', '', `a${i}`, many)));
  for (let i = 0; i < 2; i++) theirs.push(await b.step(open('m', '', `b${i}`, many)));
  await a.step(close(ours[1]));
  await deliver();
  await b.step(send(theirs[0], 0, 'to the first'));
  await deliver();
});
await scene('at random', async ({ a, b, pass }) => {
  for (const side of [a, b]) { await side.step(pair('p', '1')); await side.step(pair('q')); await side.step(pair('p', '', false)); }
  const corks = new Map([[a, 0], [b, 0]]);
  for (let i = 0; i < 140; i++) {
    const [side, other] = random(2) ? [a, b] : [b, a];
    const live = [...side.channels].filter(([, channel]) => !channel.closed).map(([name]) => name);
    const pick = () => live[random(live.length)];
    const what = random(10);
    if (what < 2) await side.step(open(['p', 'q'][random(2)], ['1', '2', '3'][random(3)], `h${i}`));
    else if (what < 4 && live.length) await side.step(send(pick(), random(3), `m${i}`));
    else if (what === 4 && live.length && !corks.get(side)) await side.step(close(pick()));
    else if (what === 5) { const corked = corks.get(side); corks.set(side, 1 - corked); await side.step({ op: corked ? 'uncork' : 'cork' }); }
    else await pass(side, other);
  }
});

// Frames that no mux sends, each to a new mux with one open channel (ids 1 and 1), one that it waits for (2) and one that it closed
// before the answer (3).
const frames = [
  '', '00', '0000', '000001', '0001', '000101', '00010161', '0002', '0003', '000201', '000202', '000203', '000204', '000200', '0002fd0000',
  '000300', '000301', '000302', '000363', '000401', '0063', '0100', '01', '0101ff', '0200', '6300', 'fd', 'fd0100', 'fdff', 'ff0000000000002000',
  '01ffffffffffffffff', '000100016100', '000101016100', '000102016100', '000103016100', '0001020161', '00010201', '000102ff016100',
  '0000000501010161', '00000003010101', '000001020061', '00000102006102016200020100', '000001000200', '0000010005020061',
  '00000002020302', '0000000202040202', '0000010200610001020100', '00fd0100020178',
];
const hostile = [];
for (const frame of frames) {
  const side = new Side();
  await side.step(open('x')); await side.step({ op: 'feed', frame: '0001010178' + '00' });
  await side.step(open('y')); await side.step(close(await side.step(open('z'))));
  const setup = side.log.length;
  await side.step({ op: 'feed', frame });
  hostile.push({ name: frame, steps: side.log.slice(setup) });
}
writeFileSync(join(folder, 'wire-mux.json'), lines({ versions, transcripts: transcripts.flatMap(({ name, steps }) => [{ name }, ...steps]), hostile }));

// ---- two cores replicate ----
//
// A frame goes over when both ends have been quiet for a moment, so that every run has the same order.

const Hypercore = require('hypercore');
const crypto = require('hypercore-crypto');

const storage = mkdtempSync(join(tmpdir(), 'vectors-wire-'));
const ends = [true, false].map((isInitiator) => {
  const wire = new Wire();
  Object.assign(wire, { isInitiator, handshakeHash: fill(64, 0x5a), remotePublicKey: fill(32, isInitiator ? 2 : 1),
    rawStream: {}, opened: Promise.resolve(true) });
  return { wire, mux: new Protomux(wire) };
});
const replication = [];
async function exchange() {
  for (let quiet = 0; quiet < 6;) {
    await new Promise((resolve) => setTimeout(resolve, 25));
    const from = ends.findIndex(({ wire }) => wire.sent.length > 0);
    quiet = from < 0 ? quiet + 1 : 0;
    if (from < 0) continue;
    const frame = ends[from].wire.sent.shift();
    replication.push({ from, frame: hex(frame) });
    ends[1 - from].wire.emit('data', frame);
  }
}

const writer = new Hypercore(join(storage, 'writer'), { keyPair: crypto.keyPair(fill(32, 0x11)) });
await writer.append([...'abcdefghij'].map((letter) => Buffer.from(letter.repeat(7))));
await writer.clear(2, 4);
const reader = new Hypercore(join(storage, 'reader'), writer.key);
await reader.ready();
for (const core of [writer, reader]) core.registerExtension('greeting', { encoding: 'utf-8', onmessage() {} });
writer.replicate(ends[0].mux); reader.replicate(ends[1].mux);
await exchange();
const failing = (promise) => promise.catch(() => {});
// What needs no other end is done before anything goes over; what needs one, while it does.
const alone = async (work) => { await work; await exchange(); };
const together = async (work) => { let done = false; const end = failing(work).then(() => { done = true; }); while (!done) await exchange(); await end; await exchange(); };
await together(reader.get(0));
await together(reader.get(3, { timeout: 400 }));
await together(reader.seek(45));
await together(reader.get(9));
await alone(writer.append(fill(300, 0x7a)));
await together(reader.download({ start: 5, end: 8 }).done());
for (const text of ['hello', 'again']) reader.extensions.get('greeting').broadcast(text);
await exchange();
await alone(reader.clear(0));
await alone(writer.truncate(8));
await alone(writer.append('after the fork'));
await together(reader.get(8));
ends[1].wire.destroyed = true;
writeFileSync(join(folder, 'wire-replication.json'), lines({ versions, replication }));
await Promise.race([Promise.all([writer.close(), reader.close()]), new Promise((resolve) => setTimeout(resolve, 500))]);
rmSync(storage, { recursive: true, force: true });
process.exit(0);

// One entry a line: a change shows in a diff.
function lines(object) {
  const parts = Object.entries(object).map(([key, value]) => `${JSON.stringify(key)}:` +
    (Array.isArray(value) ? `[\n${value.map((entry) => JSON.stringify(entry)).join(',\n')}\n]` : JSON.stringify(value)));
  return `{${parts.join(',\n')}}\n`;
}
