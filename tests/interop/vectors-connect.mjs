// Writes what the JavaScript peers say while they connect, as JSON on standard output: hyperdht's handshake and holepunch
// messages, and those of blind-relay.
//
//   HEARTH_TEST_NODE_MODULES=FOLDER node vectors-connect.mjs > system-services/hyper-swarm/tests/vectors/connect.json
//
// The same packages give the same bytes each time: everything that would be random is given.
import { createRequire } from 'node:module';
import { join } from 'node:path';

const modules = process.env.HEARTH_TEST_NODE_MODULES;
const require = createRequire(join(modules, 'x.js'));
const inside = (file) => require(join(modules, 'hyperdht/lib', file));
const c = require('compact-encoding');
const curve = require('noise-curve-ed');
const sodium = require('sodium-universal');
const relay = require('blind-relay');
const m = inside('messages.js');
const NoiseWrap = inside('noise-wrap.js');
const SecurePayload = inside('secure-payload.js');

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const fill = (byte, length = 32) => Buffer.alloc(length, byte);
const at = (host, port) => ({ host, port });
const a = at('1.2.3.4', 1), b = at('203.0.113.255', 65535), d = at('192.168.0.17', 49737);
const show = (value) => {
  if (Buffer.isBuffer(value)) return hex(value);
  if (Array.isArray(value)) return value.map(show);
  if (value && value.host) return value.host.includes(':') ? `[${value.host}]:${value.port}` : `${value.host}:${value.port}`;
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, show(v)]));
  return value;
};
const vectors = (encoding, values) => values.map((fields) => ({ fields: show(fields), bytes: hex(c.encode(encoding, fields)) }));

const handshakes = [];
for (let mode = 0; mode < 5; mode++) {
  handshakes.push({ mode, noise: fill(mode, 70 * mode), peerAddress: mode & 1 ? a : null, relayAddress: mode & 2 ? b : null });
}
const bare = {
  error: 0, firewall: 0, holepunch: null, addresses4: [], addresses6: [], udx: null, secretStream: null,
  relayThrough: null, relayAddresses: null,
};
const udx = { reusableSocket: false, id: 0x12345678, seq: 0 };
const payloads = [
  bare,
  { ...bare, udx, secretStream: {}, addresses4: [a, d] },
  { ...bare, error: 2, firewall: 3, udx: { ...udx, reusableSocket: true, id: 0xffffffff, seq: 300 } },
  { ...bare, firewall: 1, holepunch: { id: 0, relays: [] }, relayAddresses: [] },
  {
    error: 1, firewall: 2, holepunch: { id: 253, relays: [{ relayAddress: a, peerAddress: b }, { relayAddress: d, peerAddress: a }] },
    addresses4: [a, b, d], addresses6: [at('2001:db8:0:0:0:0:0:1', 49737), at('fe80:0:0:0:1:2:3:ffff', 1)], udx, secretStream: {},
    relayThrough: { publicKey: fill(8), token: fill(9) }, relayAddresses: [b],
  },
];
const holepunches = [
  { mode: 0, id: 0, payload: fill(1, 60), peerAddress: a },
  { mode: 4, id: 70000, payload: fill(2, 300), peerAddress: null },
];
const nothing = {
  error: 0, firewall: 0, round: 0, connected: false, punching: false, addresses: null, remoteAddress: null, token: null, remoteToken: null,
};
const steps = [
  nothing,
  { ...nothing, firewall: 2, round: 1, punching: true, addresses: [a, b], token: fill(3) },
  { ...nothing, error: 3, firewall: 3, round: 252, connected: true, remoteAddress: d, remoteToken: fill(4) },
  { error: 1, firewall: 1, round: 2, connected: true, punching: true, addresses: [], remoteAddress: a, token: fill(5), remoteToken: fill(6) },
];

// The Noise handshake within the messages, with given ephemeral keys.
const keyPair = (byte) => curve.generateKeyPair(fill(byte));
const client = new NoiseWrap(keyPair(1), keyPair(2).publicKey);
const server = new NoiseWrap(keyPair(2), null);
client.handshake.e = keyPair(3);
server.handshake.e = keyPair(4);
const request = client.send(payloads[1]);
server.recv(Buffer.from(request)); // a copy: the key in it is wiped in place
const reply = server.send(payloads[4]);
client.recv(Buffer.from(reply));
const [ends, other] = [client.final(), server.final()];

// What is sealed between them, with a given nonce and a given secret of addresses.
let drawn = 0;
sodium.randombytes_buf = (out) => out.fill(0xa0 + drawn++);
const secure = new SecurePayload(ends.holepunchSecret);
const sealed = steps.map((step, i) => ({ payload: i, nonce: hex(fill(0xa0 + drawn, 24)), bytes: hex(secure.encrypt(step)) }));

console.log(JSON.stringify({
  handshakes: vectors(m.handshake, handshakes),
  noise_payloads: vectors(m.noisePayload, payloads),
  holepunches: vectors(m.holepunch, holepunches),
  holepunch_payloads: vectors(m.holepunchPayload, steps),
  other_version: hex(Buffer.from([2, 255, 0])),
  noise: {
    client_seed: 1, server_seed: 2, client_ephemeral: 3, server_ephemeral: 4, request_payload: 1, reply_payload: 4,
    request: hex(request), reply: hex(reply), hash: hex(ends.hash), client_tx: hex(ends.tx), client_rx: hex(ends.rx),
    holepunch_secret: hex(ends.holepunchSecret), server_stream_id: hex(ends.remoteId), client_stream_id: hex(other.remoteId),
  },
  sealed,
  token: { local_secret: hex(fill(0xa0)), host: a.host, token: hex(secure.token(a)) },
  relay: {
    pair: vectors(relay.messages.pair, [
      { isInitiator: true, token: fill(1), id: 1, seq: 0 }, { isInitiator: false, token: fill(2), id: 0xffffffff, seq: 300 },
    ]),
    unpair: vectors(relay.messages.unpair, [{ token: fill(3) }]),
  },
}, null, 1));
