// Writes what the JavaScript peers' Noise handshake and secret stream say, with fixed keys, as JSON on standard output:
//
//   HEARTH_TEST_NODE_MODULES=FOLDER node vectors-stream.mjs > system-services/hyper-swarm/tests/vectors/stream.json
//
// The same packages give the same bytes each time: everything that would be random is given.
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.env.HEARTH_TEST_NODE_MODULES, 'x.js'));
const sodium = require('sodium-universal');
const curve = require('noise-curve-ed');
const Noise = require('noise-handshake');
const SecretStream = require('@hyperswarm/secret-stream');
const { Duplex } = require('streamx');

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const fill = (byte, length = 32) => Buffer.alloc(length, byte);
const pattern = (length) => Buffer.from(Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 255));
const hash = (bytes) => { const out = Buffer.alloc(32); sodium.crypto_generichash(out, bytes); return hex(out); };
const keyPair = (byte) => curve.generateKeyPair(fill(byte));

// Noise alone: messages with payloads, a prologue, the hash and the keys.
function handshake(name, prologue, payloads) {
  const sides = [new Noise(name, true, keyPair(1), { curve }), new Noise(name, false, keyPair(2), { curve })];
  sides[0].initialise(prologue, name === 'IK' ? keyPair(2).publicKey : undefined);
  sides[1].initialise(prologue);
  sides[0].e = keyPair(3);
  sides[1].e = keyPair(4);
  const messages = payloads.map((payload, i) => {
    const message = sides[i % 2].send(payload);
    sides[(i + 1) % 2].recv(Buffer.from(message)); // a copy: the key in it is wiped in place
    return hex(message);
  });
  return {
    pattern: name, prologue: hex(prologue), payloads: payloads.map(hex), messages,
    initiator_key: hex(keyPair(1).publicKey), responder_key: hex(keyPair(2).publicKey),
    hash: hex(sides[0].hash), initiator_tx: hex(sides[0].tx), initiator_rx: hex(sides[0].rx),
  };
}

// Which public keys a multiplication refuses.
function multiplication(key) {
  try {
    return { key: hex(key), shared: hex(curve.dh(key, keyPair(1))) };
  } catch {
    return { key: hex(key), shared: null };
  }
}
const order8 = '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05';
const edge = [
  keyPair(2).publicKey, fill(0), fill(255), Buffer.from('01' + '00'.repeat(31), 'hex'),
  Buffer.from('01' + '00'.repeat(30) + '80', 'hex'), Buffer.from('ec' + 'ff'.repeat(30) + '7f', 'hex'),
  Buffer.from('ee' + 'ff'.repeat(30) + '7f', 'hex'), Buffer.from(order8, 'hex'), fill(2), fill(3), fill(4), fill(5), fill(9),
];

// libsodium's secretstream with a given header: a push state is what a pull state is.
const push = sodium.crypto_secretstream_xchacha20poly1305_push;
const header = (byte) => fill(byte, sodium.crypto_secretstream_xchacha20poly1305_HEADERBYTES);
function secretstream(counter, messages) {
  const state = Buffer.alloc(sodium.crypto_secretstream_xchacha20poly1305_STATEBYTES);
  sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, header(6), fill(5));
  if (counter !== 1) state.writeUInt32LE(counter, 32);
  return {
    key: hex(fill(5)), header: hex(header(6)), counter,
    messages: messages.map(([length, tag]) => {
      const out = Buffer.alloc(length + 17);
      push(state, out, pattern(length), null, tag);
      return length > 300 ? { length, tag, hash: hash(out) } : { length, tag, bytes: hex(out) };
    }),
  };
}

// Whole streams over a pipe that remembers. What the library would draw at random is given here.
let drawn = 0;
sodium.crypto_secretstream_xchacha20poly1305_init_push = (state, out, key) => {
  header(++drawn).copy(out);
  sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, out, key);
};
let counters = 0;
sodium.randombytes_buf = (out) => out.fill(0xfd + ++counters); // 0xfe…, then 0xff…: the second one wraps

class Pipe extends Duplex {
  constructor() { super(); this.said = []; this.datagrams = []; this.other = null; }
  _write(data, cb) { this.said.push(Buffer.from(data)); this.other.push(Buffer.from(data)); cb(null); }
  _final(cb) { this.other.push(null); cb(null); }
  send(data) { this.datagrams.push(Buffer.from(data)); this.other.emit('message', data); return Promise.resolve(true); }
}

async function transcript(name) {
  drawn = 0x10;
  counters = 0;
  const pipes = [new Pipe(), new Pipe()];
  pipes[0].other = pipes[1];
  pipes[1].other = pipes[0];
  const sides = pipes.map((pipe, i) => new SecretStream(i === 0, pipe, {
    pattern: name, keyPair: SecretStream.keyPair(fill(1 + i)), autoStart: false,
    remotePublicKey: i === 0 && name === 'IK' ? keyPair(2).publicKey : undefined,
  }));
  const heard = [[], []];
  const datagrams = [[], []];
  sides.forEach((side, i) => {
    side.on('data', (data) => heard[i].push(Buffer.from(data)));
    side.on('message', (data) => datagrams[i].push(Buffer.from(data)));
    side.on('error', (error) => { throw error; });
    side.start(pipes[i], { keyPair: SecretStream.keyPair(fill(1 + i)) });
    side._handshake.noise.e = keyPair(3 + i);
  });
  await Promise.all(sides.map((side) => side.opened));
  const lengths = [[0, 1, 16, 300], [5, 0, 64]];
  for (const i of [0, 1]) {
    for (const length of lengths[i]) sides[i].write(pattern(length));
    await sides[i].send(pattern(40));
    await sides[i].send(Buffer.alloc(0));
    sides[i].end();
  }
  await Promise.all(sides.map((side) => new Promise((done) => side.on('close', done))));
  for (const i of [0, 1]) {
    if (heard[1 - i].map((m) => m.length).join() !== lengths[i].join()) throw new Error('messages lost');
    if (datagrams[1 - i].map((m) => m.length).join() !== '40,0') throw new Error('datagrams lost');
  }
  return {
    pattern: name, hash: hex(sides[0].handshakeHash), lengths,
    ids: [true, false].map((initiator) => hex(SecretStream.id(sides[0].handshakeHash, initiator))),
    headers: [0, 1].map((i) => hex(pipes[i].said.find((s) => s.length === 59).subarray(35))),
    counters: sides.map((side) => hex(side._sendState.subarray(72))),
    said: pipes.map((pipe) => hex(Buffer.concat(pipe.said))),
    datagrams: pipes.map((pipe) => pipe.datagrams.map(hex)),
  };
}

console.log(JSON.stringify({
  noise: [
    handshake('XX', Buffer.alloc(0), [Buffer.alloc(0), Buffer.alloc(0), Buffer.alloc(0)]),
    handshake('XX', Buffer.from('prologue'), [Buffer.from('in the clear'), pattern(200), Buffer.from('x')]),
    handshake('IK', Buffer.alloc(0), [Buffer.alloc(0), Buffer.alloc(0)]),
    handshake('IK', pattern(32), [pattern(100), pattern(3)]),
  ],
  multiplication: { scalar_of_seed: hex(fill(1)), keys: edge.map(multiplication) },
  secretstream: [
    secretstream(1, [0, 1, 15, 16, 17, 31, 63, 64, 65, 255, 70_000].map((length) => [length, 0])),
    secretstream(1, [[10, 1], [10, 2], [10, 0], [10, 3], [10, 0], [10, 6], [10, 0]]),
    secretstream(0xfffffffe, [[20, 0], [20, 0], [20, 0]]),
  ],
  streams: [await transcript('XX'), await transcript('IK')],
}, null, 1));
