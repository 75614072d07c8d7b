// A JavaScript DHT: a network of its own or nodes in ours, that ask and store as they are told.
import { load, obey } from './peer.mjs';

const DHT = load('hyperdht');
const createTestnet = load('hyperdht/testnet');
const hex = (bytes) => (bytes ? Buffer.from(bytes).toString('hex') : null);
const bytes = (text) => Buffer.from(text, 'hex');
const address = (text) => ({ host: text.split(':')[0], port: Number(text.split(':')[1]) });
const text = ({ host, port }) => `${host}:${port}`;
const reply = (r) => ({
  from: text(r.from), id: hex(r.from.id), to: text(r.to), error: r.error, closer: (r.closerNodes ?? []).map(text), value: hex(r.value),
});
const keyPair = (seed) => DHT.keyPair(Buffer.alloc(32, seed));

let node = null;
const servers = new Map();

await obey({
  /** A network of so many nodes, and one of ours in it. */
  async testnet({ size }) {
    const testnet = await createTestnet(size);
    node = testnet.createNode();
    await node.fullyBootstrapped();
    return {
      bootstrap: testnet.bootstrap.map(text),
      nodes: testnet.nodes.slice(0, size).map((n) => ({ address: text(n.address()), id: hex(n.id) })),
    };
  },
  /** A node in a network that is there already. */
  async join({ bootstrap, persistent }) {
    const options = persistent ? { ephemeral: false, firewalled: false } : {};
    node = new DHT({ bootstrap: bootstrap.map(address), host: '127.0.0.1', ...options });
    await node.fullyBootstrapped();
    return { address: text(node.address()), id: hex(node.id), nodes: node.toArray().map(text) };
  },
  ping: async ({ to }) => reply(await node.ping(address(to))),
  delayedPing: async ({ to, ms }) => reply(await node.delayedPing(address(to), ms)),
  async request({ to, internal, command, target, value }) {
    const options = { token: null, command, target: target && bytes(target), value: value && bytes(value) };
    if (!internal) return reply(await node.request(options, address(to)));
    const request = node.io.createRequest({ id: null, ...address(to) }, null, true, command, options.target, options.value, null);
    return reply(await node._requestToPromise(request));
  },
  async findNode({ target }) {
    const query = node.findNode(bytes(target));
    await query.finished();
    return { closest: query.closestReplies.map(reply) };
  },
  immutablePut: async ({ value }) => ({ hash: hex((await node.immutablePut(bytes(value))).hash) }),
  immutableGet: async ({ hash }) => ({ value: hex((await node.immutableGet(bytes(hash)))?.value) }),
  async mutablePut({ seed, value, seq }) {
    const put = await node.mutablePut(keyPair(seed), bytes(value), { seq });
    return { publicKey: hex(put.publicKey), nodes: put.closestNodes.length };
  },
  async mutableGet({ publicKey }) {
    const got = await node.mutableGet(bytes(publicKey));
    return got ? { seq: got.seq, value: hex(got.value) } : {};
  },
  async announce({ topic, seed, relays, bump }) {
    await node.announce(bytes(topic), keyPair(seed), relays.map(address), { bump }).finished();
    return { publicKey: hex(keyPair(seed).publicKey) };
  },
  unannounce: async ({ topic, seed }) => { await node.unannounce(bytes(topic), keyPair(seed)); },
  async lookup({ topic }) {
    const peers = new Map();
    let bump = 0;
    for await (const { peers: found, bump: b } of node.lookup(bytes(topic))) {
      bump = Math.max(bump, b);
      for (const p of found) peers.set(hex(p.publicKey), p.relayAddresses.map(text));
    }
    return { peers: Object.fromEntries(peers), bump };
  },
  async findPeer({ publicKey }) {
    for await (const found of node.findPeer(bytes(publicKey))) {
      return { from: text(found.from), publicKey: hex(found.peer.publicKey), relays: found.peer.relayAddresses.map(text) };
    }
    return {};
  },
  /** A server announces itself under its own key. */
  async listen({ seed }) {
    const server = node.createServer();
    await server.listen(keyPair(seed));
    servers.set(seed, server);
    return { publicKey: hex(server.publicKey), relays: server.relayAddresses.map(text) };
  },
  async close({ seed }) { await servers.get(seed).close(); },
  state: () => ({ ephemeral: node.ephemeral, firewalled: node.firewalled, host: node.host, port: node.port, known: node.toArray().map(text) }),
});
