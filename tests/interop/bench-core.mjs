// Measures the JavaScript Hypercore's log, with the names and numbers that hyper-core's example `bench_log` has: a line of JSON each.
//
//   HEARTH_TEST_NODE_MODULES=… node bench-core.mjs [FOLDER]
//
// RocksDB writes its log without flushing it: what is appended survives the end of the process, not a power cut.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load } from './peer.mjs';

const Corestore = load('corestore');
const KIB = 1024;
const scratch = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'bench-core-'));

const tell = (what, unit, value) => process.stdout.write(`${JSON.stringify({ what, [unit]: Number(value.toFixed(1)) })}\n`);
const seconds = (start) => (performance.now() - start) / 1000;

function blocks(first, count, bytes) {
  return Array.from({ length: count }, (_, i) => {
    const block = Buffer.alloc(bytes, first + i);
    block.writeUInt32LE(first + i);
    return block;
  });
}

async function append(core, rounds, batch, bytes) {
  const all = Array.from({ length: rounds }, (_, round) => blocks(round * batch, batch, bytes));
  const start = performance.now();
  for (const some of all) await core.append(batch === 1 ? some[0] : some);
  return rounds * batch / seconds(start);
}

async function appends() {
  const store = new Corestore(join(scratch, 'appends'));
  const core = async (name) => {
    const session = store.get({ name });
    await session.ready();
    return session;
  };
  const small = await core('small');
  tell('append-1k-batch', 'per_s', await append(small, 50, 1000, KIB));
  tell('append-1k-single', 'per_s', await append(await core('single'), 5000, 1, KIB));
  const count = 20_000;
  const start = performance.now();
  for (let i = 0; i < count; i++) await small.get(Math.floor(Math.random() * small.length));
  tell('get-1k-random', 'per_s', count / seconds(start));
  tell('append-64k', 'mib_per_s', await append(await core('large'), 128, 16, 64 * KIB) / 16);
  await store.close();
}

async function manyCores(count) {
  const folder = join(scratch, 'many');
  let store = new Corestore(folder);
  for (let i = 0; i < count; i++) {
    const core = store.get({ name: `core ${i}` });
    await core.append('x');
    await core.close();
  }
  await store.close();
  let start = performance.now();
  store = new Corestore(folder);
  await store.ready();
  tell('open-10k-cores', 'ms', seconds(start) * 1000);
  start = performance.now();
  const core = store.get({ name: `core ${count / 2}` });
  await core.ready();
  if (core.length !== 1) throw new Error('a core is not as it was');
  tell('open-one-of-10k-cores', 'ms', seconds(start) * 1000);
  await store.close();
}

try {
  await appends();
  await manyCores(10_000);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
process.exit(0);
