// Writes what the JavaScript nodes of the DHT say to each other, as JSON on standard output: datagrams of dht-rpc, ids, hyperdht's
// records and what is signed of them.
//
//   HEARTH_TEST_NODE_MODULES=FOLDER node vectors-dht.mjs > system-services/hyper-swarm/tests/vectors/dht.json
//
// The same packages give the same bytes each time: everything that would be random is given.
import { createRequire } from 'node:module';
import { join } from 'node:path';

const modules = process.env.HEARTH_TEST_NODE_MODULES;
const require = createRequire(join(modules, 'x.js'));
const IO = require('dht-rpc/lib/io.js');
const peer = require('dht-rpc/lib/peer.js');
const m = require(join(modules, 'hyperdht/lib/messages.js'));
const Persistent = require(join(modules, 'hyperdht/lib/persistent.js'));
const { createKeyPair, hash } = require(join(modules, 'hyperdht/lib/crypto.js'));
const c = require('compact-encoding');

const hex = (bytes) => (bytes ? Buffer.from(bytes).toString('hex') : null);
const fill = (byte, length = 32) => Buffer.alloc(length, byte);
const text = ({ host, port }) => `${host}:${port}`;
const addresses = [
  { host: '127.0.0.1', port: 49737 },
  { host: '1.2.3.4', port: 1 },
  { host: '255.254.253.252', port: 65535 },
];
const nodes = (count) => Array.from({ length: count }, (_, i) => ({ host: `10.0.${i}.1`, port: 1000 + 256 * i }));

// A socket and a table that only show what would be sent.
let sent = null;
const socket = () => ({ trySend: (bytes) => { sent = bytes; } });
const table = { id: fill(0x77), closest: () => [] };
const io = new IO(table, { watchNetworkInterfaces: () => ({}) }, { firewalled: false });
io.serverSocket = socket();
io.clientSocket = socket();
io.token = () => fill(0x99);

const requests = [];
for (let i = 0; i < 64; i++) {
  io.ephemeral = (i & 1) === 0;
  io._tid = [0, 1, 255, 256, 65535][i % 5];
  const token = i & 2 ? fill(0x55) : null;
  const target = i & 8 ? fill(0x66) : null;
  const value = i & 16 ? fill(0x44, i & 32 ? 300 : i % 7) : null;
  const command = [0, 4, 10, 252, 253, 65536][i % 6];
  const to = addresses[i % 3];
  const request = io.createRequest(to, token, (i & 4) !== 0, command, target, value);
  request.send(true);
  clearTimeout(request._timeout);
  requests.push({
    tid: request.tid, to: text(to), id: i & 1 ? hex(table.id) : null, token: hex(token), internal: (i & 4) !== 0, command,
    target: hex(target), value: value ? hex(value) : null, bytes: hex(sent),
  });
}

const responses = [];
for (let i = 0; i < 32; i++) {
  io.ephemeral = (i & 1) === 0;
  const closer = nodes(i & 4 ? i % 21 : 0);
  table.closest = () => closer;
  io._tid = 1000 + i;
  const request = io.createRequest(addresses[0], null, false, 0, fill(1), null);
  const error = i & 8 ? [1, 2, 16, 300][i % 4] : 0;
  const value = i & 16 ? fill(0x33, i) : null;
  request._sendReply(error, value, (i & 2) !== 0, true, addresses[i % 3], io.serverSocket);
  responses.push({
    tid: request.tid, to: text(addresses[i % 3]), id: i & 1 ? hex(table.id) : null, token: i & 2 ? hex(fill(0x99)) : null,
    closer: closer.map(text), error, value: value ? hex(value) : null, bytes: hex(sent),
  });
}

const ids = [...addresses, ...nodes(5)].map((address) => ({ address: text(address), id: hex(peer.id(address.host, address.port)) }));

const keyPair = createKeyPair(fill(7));
const target = hash(keyPair.publicKey), token = fill(0x21), id = fill(0x22);
const announcements = [];
for (let i = 0; i < 16; i++) {
  const ann = {
    peer: { publicKey: keyPair.publicKey, relayAddresses: nodes(i & 3) },
    refresh: i & 4 ? fill(0x23) : null,
    signature: null,
    bump: i & 8 ? 1700000000000 : 0,
  };
  const sign = i & 1 ? Persistent.signUnannounce : Persistent.signAnnounce;
  ann.signature = sign(target, token, id, ann, keyPair);
  announcements.push({
    unannounce: (i & 1) !== 0, relays: ann.peer.relayAddresses.map(text), refresh: hex(ann.refresh), bump: ann.bump,
    bytes: hex(c.encode(m.announce, ann)),
  });
}
const refresh = hex(c.encode(m.announce, { peer: null, refresh: fill(0x24), signature: null, bump: 0 }));

const mutables = [0, 1, 252, 253, 70000, 2 ** 40].map((seq, i) => {
  const value = fill(0x61 + i, 50 * i);
  const signature = Persistent.signMutable(seq, value, keyPair);
  return {
    seq, value: hex(value),
    put: hex(c.encode(m.mutablePutRequest, { publicKey: keyPair.publicKey, seq, value, signature })),
    record: hex(c.encode(m.mutableGetResponse, { seq, value, signature })),
  };
});

const records = [0, 1, 3].map((count) => c.encode(m.peer, { publicKey: fill(count + 1), relayAddresses: nodes(count) }));
const lookup = {
  records: records.map(hex),
  bump: 1700000000000,
  bytes: hex(c.encode(m.lookupRawReply, { peers: records, bump: 1700000000000 })),
};

console.log(JSON.stringify({
  requests, responses, ids,
  announce: { seed: hex(fill(7)), target: hex(target), token: hex(token), id: hex(id), announcements, refresh },
  mutables, lookup,
}, null, 1));
process.exit(0);
