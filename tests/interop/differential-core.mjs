// A core of the JavaScript stack to which operations are done, and what it is after each of them.
//
//   {"do":"open","seed":N,"compat":BOOL}    an empty core with the key pair of a seed: its key
//   {"do":"run","operations":[…]}           for each operation: fork, lengths, tree hash, signature, and what it read
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load, obey } from './peer.mjs';

const Hypercore = load('hypercore');
const crypto = load('hypercore-crypto');
const hex = (bytes) => bytes && Buffer.from(bytes).toString('hex');

const folder = mkdtempSync(join(tmpdir(), 'differential-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
let core, options;

const open = async () => {
  core = new Hypercore(folder, options);
  await core.ready();
};

/** A block of so many bytes, the same in both worlds. */
function block([size, fill]) {
  const out = Buffer.alloc(size);
  for (let i = 0; i < size; i++) out[i] = fill + 3 * i + (i >> 8);
  return out;
}

const operations = {
  append: ({ blocks }) => core.append(blocks.map(block)).then(() => null),
  truncate: ({ length, fork }) => core.truncate(length, fork === null ? {} : { fork }).then(() => null),
  clear: ({ start, end }) => core.clear(start, end).then(() => null),
  get: async ({ block }) => hex(await core.get(block, { wait: false })),
  has: ({ start, end }) => Promise.all(Array.from({ length: end - start }, (_, i) => core.has(start + i))),
  seek: async ({ bytes }) => core.seek(bytes, { wait: false }),
  reopen: async () => {
    await core.close();
    await open();
    return null;
  },
};

/** Fails when something waits for peers that there are none of. */
async function within(seconds, what, promise) {
  let timer;
  const late = new Promise((_, refuse) => {
    timer = setTimeout(() => refuse(new Error(`${JSON.stringify(what)} waits`)), 1000 * seconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function run(operation) {
  const read = await within(20, operation, operations[operation.op](operation));
  return {
    read,
    fork: core.fork,
    length: core.length,
    byteLength: core.byteLength,
    contiguousLength: core.contiguousLength,
    // `core.treeHash()` waits for the last block if that was cleared.
    treeHash: hex(crypto.tree(core.core.state.roots)),
    signature: hex(core.core.state.signature),
  };
}

obey({
  open: async ({ seed, compat }) => {
    options = { keyPair: crypto.keyPair(Buffer.alloc(32, seed)), compat };
    await open();
    return { key: hex(core.key) };
  },
  run: async ({ operations }) => {
    const states = [];
    for (const operation of operations) states.push(await run(operation));
    return { states };
  },
});
