// Writes what a JavaScript bee makes of many changes, for the tests of hyper-drive.
//
//   HEARTH_TEST_NODE_MODULES=… node vectors-bee.mjs FILE
import { writeFileSync } from 'node:fs';
import { apply, blocks, openBee, openCore, read } from './bee-operations.mjs';
import { load } from './peer.mjs';

const crypto = load('hypercore-crypto');

// A fixed sequence of pseudo-random numbers (xorshift).
let state = 0x2545f491;
function random(below) {
  state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
  return (state >>> 0) % below;
}

const KEYS = 300;
const key = () => Buffer.from(`k${random(KEYS)}`).toString('hex');
const value = () => [null, '', '00', Buffer.from(`v${random(1e4)}`).toString('hex')][Math.min(3, random(20))];
const cas = () => [undefined, undefined, undefined, true, false][random(5)];

// First mostly puts, then mostly removals, so that the tree grows to several levels and shrinks again.
function change(step) {
  const op = random(10) < (step < 330 ? 8 : 2) ? 'put' : 'del';
  return op === 'put' ? { op, key: key(), value: value(), cas: cas() } : { op, key: key(), cas: cas() };
}

const operations = [];
for (let step = 0; step < 600; step++) {
  if (random(12)) operations.push(change(step));
  else operations.push({ op: 'batch', ops: Array.from({ length: random(30) }, () => change(step)) });
}

const core = await openCore({ seed: 7 });
const bee = openBee(core);
// Only between changes: within a batch a version is not whole.
const versions = [];
for (const operation of operations) {
  await apply(bee, [operation]);
  versions.push(core.length);
}
const version = (share) => versions[Math.floor(versions.length * share)];
const made = await blocks(core);
const digest = (block) => crypto.hash(Buffer.from(block, 'hex')).toString('hex').slice(0, 8);

const queries = [
  { read: 'scan' }, { read: 'scan', reverse: true, limit: 9 },
  { read: 'scan', gt: Buffer.from('k2').toString('hex'), lt: Buffer.from('k29').toString('hex') },
  { read: 'scan', gte: Buffer.from('k2').toString('hex'), lte: Buffer.from('k29').toString('hex'), reverse: true },
  { read: 'diff', other: version(0.02) }, { read: 'diff', other: version(0.6), version: version(0.3) },
  { read: 'diff', other: version(0.5), gt: Buffer.from('k2').toString('hex'), lte: Buffer.from('k5').toString('hex'), limit: 12 },
  { read: 'history', gte: 5, lt: 40 }, { read: 'history', reverse: true, limit: 30 },
];
const reads = [];
for (const query of queries) reads.push({ ...query, items: await read(bee, query) });

const vectors = {
  operations, key: made.key, length: made.length, byte_length: made.byte_length, tree_hash: made.tree_hash,
  first_blocks: made.blocks.slice(0, 12), digests: made.blocks.map(digest).join(' '), reads,
};
writeFileSync(process.argv[2], `${JSON.stringify(vectors)}\n`);
process.exit(0);
