// How fast a bee is in the JavaScript stack: one JSON line for each measurement, as `examples/bench_bee.rs` of hyper-drive has them.
import { openBee, openCore } from './bee-operations.mjs';

const KEYS = 10_000;
const BATCHED = 20_000;
const BATCH = 1000;
// No order, and each key once: the factor is prime.
const key = (i, keys) => Buffer.from(`key ${String((i * 7919) % keys).padStart(10, '0')}`);
const value = (i) => Buffer.alloc(100, i);

async function measure(what, count, work) {
  const start = process.hrtime.bigint();
  await work();
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  console.log(JSON.stringify({ what, per_s: count / seconds }));
}

const single = openBee(await openCore({ seed: 1 }));
await measure('bee-put', KEYS, async () => {
  for (let i = 0; i < KEYS; i++) await single.put(key(i, KEYS), value(i));
});
await measure('bee-get', KEYS, async () => {
  for (let i = 0; i < KEYS; i++) if (!(await single.get(key(i * 3, KEYS)))) throw new Error(`key ${i} is gone`);
});

const batched = openBee(await openCore({ seed: 2 }));
await measure('bee-batch-put', BATCHED, async () => {
  for (let i = 0; i < BATCHED; i += BATCH) {
    const batch = batched.batch();
    for (let j = i; j < i + BATCH; j++) await batch.put(key(j, BATCHED), value(j));
    await batch.flush();
  }
});
await measure('bee-scan', BATCHED, async () => {
  let entries = 0;
  for await (const _ of batched.createReadStream()) entries++;
  if (entries !== BATCHED) throw new Error(`${entries} entries`);
});
process.exit(0);
