// A live JavaScript bee for the tests: obeys what changes it and what reads it.
import { apply, blocks, openBee, openCore, read } from './bee-operations.mjs';
import { connect, createServer } from 'node:net';
import { load, obey, say } from './peer.mjs';

const NoiseSecretStream = load('@hyperswarm/secret-stream');

let core;
let bee;

function attach(isInitiator, socket) {
  const stream = new NoiseSecretStream(isInitiator, socket);
  stream.on('error', () => {});
  core.replicate(stream);
}

// What both sides know how to make: no order, and each key once.
const key = (i) => Buffer.from(`key ${String((i * 7919) % 100000).padStart(5, '0')}`);

async function tell() {
  for await (const [now, before] of bee.watch()) say('changed', { now: now.version, before: before.version });
}

say('ready');
await obey({
  open: async ({ seed, key, options }) => {
    core = await openCore({ seed, key });
    bee = openBee(core, options);
    await bee.ready();
    return { key: core.key.toString('hex') };
  },
  apply: async ({ operations }) => apply(bee, operations),
  blocks: async ({ start }) => blocks(core, start),
  listen: () => new Promise((resolve) => {
    const server = createServer((socket) => attach(false, socket));
    server.listen(0, '127.0.0.1', () => resolve({ port: server.address().port }));
  }),
  connect: ({ port }) => { attach(true, connect(port, '127.0.0.1')); },
  update: async () => ({ grew: await core.update({ wait: true }), version: bee.version }),
  fill: async ({ start, end }) => {
    for (let at = start; at < end; at += 1000) {
      const batch = bee.batch();
      for (let i = at; i < Math.min(end, at + 1000); i++) await batch.put(key(i), Buffer.from(`value ${i}`));
      await batch.flush();
    }
    return { version: bee.version };
  },
  watch: () => { tell(); },
  stored: async () => {
    let blocks = 0;
    for (let i = 0; i < core.length; i++) if (await core.has(i)) blocks++;
    return { blocks };
  },
  read: async (query) => ({ items: await read(bee, query) }),
});
