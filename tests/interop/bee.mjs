// A live JavaScript bee for the tests: obeys what changes it and what reads it.
import { apply, blocks, openBee, openCore, read } from './bee-operations.mjs';
import { obey, say } from './peer.mjs';

let core;
let bee;

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
  read: async (query) => ({ items: await read(bee, query) }),
});
