// A bee in the JavaScript stack, and what is done with it, as plain data: keys, values and blocks in hexadecimal.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load } from './peer.mjs';

const Hypercore = load('hypercore');
const Hyperbee = load('hyperbee');
const crypto = load('hypercore-crypto');

const hex = (bytes) => bytes && Buffer.from(bytes).toString('hex');
const bytes = (text) => (text === null || text === undefined ? text : Buffer.from(text, 'hex'));
const entry = (node) => node && { seq: node.seq, key: hex(node.key), value: hex(node.value) };

/** A core with the key pair of a seed, or with a key, in a folder of its own; the folder goes with the program. */
export async function openCore({ seed, key }) {
  const folder = mkdtempSync(join(tmpdir(), 'bee-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const keyPair = seed === undefined ? undefined : crypto.keyPair(Buffer.alloc(32, seed));
  const core = new Hypercore(folder, key && bytes(key), { keyPair });
  await core.ready();
  return core;
}

export const openBee = (core, options = {}) => new Hyperbee(core, { extension: false, ...options });

// What a `cas` says: one answer for all, or "the old value is this one".
function condition({ cas }) {
  if (cas === null || cas === undefined) return undefined;
  return { cas: (old) => (typeof cas === 'boolean' ? cas : hex(old.value) === cas) };
}

async function change(to, operation) {
  const key = bytes(operation.key);
  if (operation.op === 'del') await to.del(key, condition(operation));
  else await to.put(key, bytes(operation.value), condition(operation));
}

/** Puts, removals and batches of both. */
export async function apply(bee, operations) {
  for (const operation of operations) {
    if (operation.op !== 'batch') {
      await change(bee, operation);
      continue;
    }
    const batch = bee.batch();
    for (const inner of operation.ops) await change(batch, inner);
    await batch.flush();
  }
}

function range({ gt, gte, lt, lte, reverse, limit }) {
  const out = {};
  for (const [name, key] of Object.entries({ gt, gte, lt, lte })) if (key !== undefined) out[name] = bytes(key);
  if (reverse) out.reverse = true;
  if (limit !== undefined) out.limit = limit;
  return out;
}

async function all(stream, map) {
  const out = [];
  for await (const item of stream) out.push(map(item));
  return out;
}

/** Scans, histories, differences. */
export async function read(bee, query) {
  const at = query.version ? bee.checkout(query.version) : bee;
  if (query.read === 'get') return [entry(await at.get(bytes(query.key)))];
  if (query.read === 'scan') return all(at.createReadStream(range(query)), entry);
  if (query.read === 'history') {
    const { reverse, limit, gte, lt } = query;
    const options = { reverse };
    for (const [name, value] of Object.entries({ limit, gte, lt })) if (value !== undefined) options[name] = value;
    return all(at.createHistoryStream(options), (node) => ({ type: node.type, ...entry(node) }));
  }
  const map = ({ left, right }) => ({ left: entry(left), right: entry(right) });
  return all(at.createDiffStream(query.other, range(query)), map);
}

/** The blocks from `start` on, and where the core stands. */
export async function blocks(core, start = 0) {
  const out = [];
  for (let i = start; i < core.length; i++) out.push(hex(await core.get(i)));
  const info = await core.info();
  return { key: hex(core.key), length: core.length, byte_length: core.byteLength, tree_hash: hex(await core.treeHash()), blocks: out };
}
