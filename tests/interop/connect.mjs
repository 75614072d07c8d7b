// HyperDHT peers that connect: nodes, servers that echo, clients that speak and listen, and a blind relay.
import { load, obey, say } from './peer.mjs';

const DHT = load('hyperdht');
const createTestnet = load('hyperdht/testnet');
const relay = load('blind-relay');
const b4a = load('b4a');

const keyPair = (seed) => DHT.keyPair(Buffer.alloc(32, seed));
const address = (text) => { const [host, port] = text.split(':'); return { host, port: Number(port) }; };
const key = (hex) => hex ? b4a.from(hex, 'hex') : null;
let node;
const servers = new Map();

// Bytes that are not the same everywhere.
const pattern = (length) => Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 255));

const remote = (socket) => `${socket.rawStream.remoteHost}:${socket.rawStream.remotePort}`;

// Until a socket that begins by a relay goes elsewhere.
async function moved(socket) {
  await socket.opened;
  const from = remote(socket);
  while (remote(socket) === from) await new Promise((resolve) => setTimeout(resolve, 100));
  return from;
}

function speak(socket, bytes, pieceBytes) {
  const said = pattern(bytes);
  return new Promise((resolve, reject) => {
    let heard = 0, opened = false;
    socket.on('error', reject).on('close', () => reject(new Error(`closed after ${heard} of ${bytes} bytes`)));
    socket.on('open', () => { opened = true; });
    socket.on('data', (data) => {
      if (!data.equals(said.subarray(heard, heard + data.byteLength))) return reject(new Error(`other bytes after ${heard}`));
      heard += data.byteLength;
      if (heard < bytes) return;
      resolve({
        bytes: heard, opened, key: b4a.toString(socket.remotePublicKey, 'hex'),
        remote: remote(socket),
      });
    });
    for (let at = 0; at < bytes; at += pieceBytes) socket.write(said.subarray(at, Math.min(bytes, at + pieceBytes)));
  });
}

await obey({
  async testnet({ size, host }) {
    const testnet = await createTestnet(size, host ? { host } : {});
    node = testnet.createNode(host ? { host } : {});
    await node.fullyBootstrapped();
    return { bootstrap: testnet.bootstrap.map(({ host, port }) => `${host}:${port}`) };
  },
  async join({ bootstrap, host = '127.0.0.1', ephemeral, quickFirewall = true }) {
    node = new DHT({ bootstrap: bootstrap.map(address), host, ephemeral, quickFirewall });
    await node.fullyBootstrapped();
    return { firewalled: node.firewalled, address: `${node.host}:${node.port}`, randomized: node.randomized };
  },
  async listen({ seed, refuse = [], relayThrough, shareLocalAddress = true, holepunch }) {
    const server = node.createServer({
      firewall: (publicKey) => refuse.includes(b4a.toString(publicKey, 'hex')), relayThrough: key(relayThrough), shareLocalAddress, holepunch,
    }, (socket) => {
      socket.on('error', (error) => say('lost', { message: error.message }));
      socket.pipe(socket);
      say('connection', {
        key: b4a.toString(socket.remotePublicKey, 'hex'), remote: remote(socket),
      });
    });
    await server.listen(keyPair(seed));
    servers.set(seed, server);
    return { publicKey: b4a.toString(server.publicKey, 'hex') };
  },
  async close({ seed }) {
    await servers.get(seed).close();
  },
  async connect({ publicKey, seed, bytes, pieceBytes = 65536, relayThrough, localConnection = true, move = false }) {
    const socket = node.connect(key(publicKey), { keyPair: keyPair(seed), relayThrough: key(relayThrough), localConnection });
    const from = move ? await moved(socket) : undefined;
    const heard = { ...await speak(socket, bytes, pieceBytes), from };
    socket.end();
    return heard;
  },
  // A relay that counts what it brings together.
  async relay({ seed }) {
    const relays = new relay.Server({ createStream: (options) => node.createRawStream({ ...options, framed: true }) });
    const server = node.createServer({ shareLocalAddress: false }, (socket) => {
      const session = relays.accept(socket, { id: socket.remotePublicKey });
      session.on('pair', (isInitiator) => say('pair', { isInitiator })).on('error', () => {});
      socket.on('error', () => {});
    });
    await server.listen(keyPair(seed));
    return { publicKey: b4a.toString(server.publicKey, 'hex') };
  },
});
