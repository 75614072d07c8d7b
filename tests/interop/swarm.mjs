// Swarms of today's hyperswarm on a private DHT. Arguments: the bootstrap node as HOST:PORT, or nothing to make a testnet.
//
// Says what happens (`connection`, `data`, `closed`) with the number of the swarm. Data of a peer is sent back, reversed.
import { load, obey, say } from './peer.mjs';

const b4a = load('b4a');
const Hyperswarm = load('hyperswarm');
const createTestnet = load('hyperdht/testnet');

const [given] = process.argv.slice(2);
const testnet = given ? null : await createTestnet(8, { host: '127.0.0.1' });
const bootstrap = given ? [{ host: given.split(':')[0], port: Number(given.split(':')[1]) }] : testnet.bootstrap;
const swarms = [];
const sessions = new Map();
const hex = (bytes) => b4a.toString(bytes, 'hex');

function make({ seed }) {
  const swarm = new Hyperswarm({ bootstrap, ...(seed && { seed: b4a.from(seed, 'hex') }) });
  const number = swarms.push(swarm) - 1;
  swarm.on('connection', (connection, info) => {
    const peer = hex(connection.remotePublicKey);
    say('connection', { swarm: number, peer, client: info.client, topics: info.topics.map(hex) });
    connection.on('data', (data) => {
      say('data', { swarm: number, peer, text: b4a.toString(data) });
      if (!b4a.toString(data).startsWith('echo:')) connection.write(`echo:${b4a.toString(data)}`);
    });
    connection.on('error', () => {});
    connection.on('close', () => say('closed', { swarm: number, peer }));
  });
  return { swarm: number, key: hex(swarm.keyPair.publicKey) };
}

say('ready', { bootstrap: bootstrap.map(({ host, port }) => `${host}:${port}`) });
await obey({
  make,
  async join({ swarm, topic, server = true, client = true, flush = true }) {
    const session = swarms[swarm].join(b4a.from(topic, 'hex'), { server, client });
    sessions.set(`${swarm}:${topic}`, session);
    if (flush) await session.flushed();
  },
  async leave({ swarm, topic }) { await swarms[swarm].leave(b4a.from(topic, 'hex')); },
  async flush({ swarm }) { return { flushed: await swarms[swarm].flush() }; },
  joinPeer({ swarm, peer }) { swarms[swarm].joinPeer(b4a.from(peer, 'hex')); },
  peers({ swarm }) { return { peers: [...swarms[swarm].connections].map((c) => hex(c.remotePublicKey)).sort() }; },
  write({ swarm, peer, text }) {
    const to = [...swarms[swarm].connections].find((c) => hex(c.remotePublicKey) === peer);
    if (!to) throw new Error(`no connection to ${peer}`);
    to.write(text);
  },
  async destroy({ swarm }) { await swarms[swarm].destroy(); },
});
