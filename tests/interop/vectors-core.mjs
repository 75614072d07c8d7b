// Writes what the JavaScript Hypercore computes, for the tests of hyper-core: keys, manifests, trees, signatures, proofs.
//
//   HEARTH_TEST_NODE_MODULES=… node vectors-core.mjs FOLDER          writes core.json and
//     core-manifests.json, the same bytes at every run
import { createRequire } from 'node:module';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const modules = process.env.HEARTH_TEST_NODE_MODULES;
const require = createRequire(join(modules, 'x.js'));
const inside = (file) => require(join(modules, 'hypercore/lib', file));
const Hypercore = require('hypercore');
const crypto = require('hypercore-crypto');
const c = require('compact-encoding');
const flat = require('flat-tree');
const { MerkleTree, MerkleTreeBatch, ReorgBatch } = inside('merkle-tree.js');
const Verifier = inside('verifier.js');
const multisig = inside('multisig.js');
const caps = inside('caps.js');
const fullyRemote = inside('fully-remote-proof.js');

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const fill = (byte, length = 32) => Buffer.alloc(length, byte);

// A fixed sequence of pseudo-random numbers (xorshift).
let state = 0x2545f491;
function random(below) {
  state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
  return (state >>> 0) % below;
}

// Block i of every core here: at least 8 bytes each.
function block(i) {
  const out = Buffer.alloc(8 + (i * 31) % 97);
  for (let j = 0; j < out.length; j++) out[j] = (i + 3 * j) & 0xff;
  return out;
}

const pair = crypto.keyPair(fill(1));
const manifest = Verifier.defaultSignerManifest(pair.publicKey);

// A tree whose nodes are in a map: the part of a session that the tree code looks at.
function session(nodes, length, fork = 0, signature = null) {
  const rx = { getTreeNode: async (i) => nodes.get(i) ?? null, hasTreeNode: async (i) => nodes.has(i), tryFlush() {} };
  const roots = flat.fullRoots(2 * length).map((i) => nodes.get(i));
  const byteLength = roots.reduce((sum, root) => sum + root.size, 0);
  return { fork, roots, length, byteLength, signature, prologue: null, storage: { read: () => rx } };
}

function grow(length, value = block) {
  const batch = new MerkleTreeBatch(session(new Map(), 0));
  for (let i = 0; i < length; i++) batch.append(value(i));
  return batch;
}

function nodeMap(batch) {
  return new Map(batch.nodes.map((node) => [node.index, node]));
}

async function withCore(options, use) {
  const folder = mkdtempSync(join(tmpdir(), 'vectors-core-'));
  const core = new Hypercore(folder, options);
  try {
    await core.ready();
    return await use(core);
  } finally {
    await core.close();
    rmSync(folder, { recursive: true });
  }
}

// ---- keys, hashes, what is signed ----

function constants() {
  const key = fill(5);
  const handshake = fill(6, 64);
  return {
    seed: hex(fill(1)), public_key: hex(pair.publicKey), secret_key: hex(pair.secretKey),
    namespaces: crypto.namespace('hypercore', 6).map(hex),
    key: hex(key), discovery_key: hex(crypto.discoveryKey(key)), handshake: hex(handshake),
    capability_initiator: hex(caps.replicate(true, key, handshake)),
    capability_responder: hex(caps.replicate(false, key, handshake)),
    signed: hex(crypto.sign(Buffer.from('message'), pair.secretKey)),
  };
}

// ---- a core at every length, and the proofs it gives ----

function requests(length) {
  const out = [];
  for (let i = 0; i < 32; i++) {
    const request = { block: null, hash: null, seek: null, upgrade: null };
    const kind = random(4);
    const nodes = random(3) ? random(3) : random(7);
    if (kind === 1) request.block = { index: random(length), nodes };
    if (kind === 2) request.hash = { index: random(2 * length - 1), nodes };
    if (random(3) === 0) request.seek = { bytes: random(length * 56 + 20), padding: random(2) * 8 };
    if (kind === 3 || random(2)) {
      const start = random(length);
      request.upgrade = { start, length: 1 + random(length - start) };
    }
    out.push(request);
  }
  out.push({ block: null, hash: null, seek: null, upgrade: { start: 0, length } });
  out.push({ block: null, hash: null, seek: null, upgrade: { start: length, length: 1 } });
  return out;
}

const indices = (nodes) => nodes.map((node) => node.index);

// As the replicator asks for it: `core.proof` reads before a seek has said what.
async function proofOf(core, request) {
  const rx = core.core.state.storage.read();
  let proof;
  try {
    const parts = await MerkleTree.proof(core.core.state, rx, structuredClone(request));
    rx.tryFlush();
    proof = await parts.settle();
  } catch {
    rx.destroy();
    return null;
  }
  return {
    block: proof.block && indices(proof.block.nodes),
    hash: proof.hash && indices(proof.hash.nodes),
    seek: proof.seek && indices(proof.seek.nodes),
    upgrade: proof.upgrade && { nodes: indices(proof.upgrade.nodes), additional: indices(proof.upgrade.additionalNodes) },
  };
}

async function lengths(options, proofsAt) {
  return withCore(options, async (core) => {
    const heads = [];
    const proofs = [];
    for (let length = 1; length <= 64; length++) {
      await core.append(block(length - 1));
      heads.push([hex(await core.treeHash()), core.byteLength, hex(core.core.state.signature)]);
      if (!proofsAt.includes(length)) continue;
      for (const request of requests(length)) proofs.push({ tree: length, ...request, proof: await proofOf(core, request) });
    }
    return { key: hex(core.key), manifest: hex(Verifier.encodeManifest(core.manifest)), heads, proofs };
  });
}

async function forked() {
  return withCore({ keyPair: pair, manifest: structuredClone(manifest) }, async (core) => {
    const heads = [];
    const head = async () => heads.push({ fork: core.fork, length: core.length, tree: hex(await core.treeHash()), signature: hex(core.core.state.signature) });
    await core.append(Array.from({ length: 20 }, (_, i) => block(i)));
    await head();
    await core.truncate(7);
    await head();
    await core.append([block(100), block(101), block(102)]);
    await head();
    await core.truncate(4, 9);
    await head();
    return heads;
  });
}

// Other blocks from `common` on.
const forkedBlock = (common) => (i) => (i < common ? block(i) : block(i + 500));

// What is asked for on the way to another fork, always for the first block of those that may be.
async function reorgs() {
  const out = [];
  for (const [ours, common, theirs] of [[20, 7, 20], [20, 7, 12], [20, 20, 7], [5, 5, 37], [37, 0, 37], [33, 32, 40], [40, 21, 33], [1, 0, 1], [64, 63, 64], [12, 11, 50]]) {
    const mine = session(nodeMap(grow(ours)), ours);
    const other = session(nodeMap(grow(theirs, forkedBlock(common))), theirs, 1, fill(1, 64));
    const proof = async (request) => (await MerkleTree.proof(other, other.storage.read(), request)).settle();
    const batch = new ReorgBatch(mine);
    await MerkleTree.reorg(mine, await proof({ upgrade: { start: 0, length: theirs } }), batch);
    const wants = [];
    while (batch.want !== null) {
      const { start, end, nodes } = batch.want;
      wants.push([start, end, nodes]);
      await batch.update(await proof({ hash: { index: 2 * start, nodes } }));
    }
    out.push({ ours, common, theirs, wants, ancestors: batch.ancestors });
  }
  return out;
}

// Proofs as messages that stand alone, behind the discovery key; and what is given of a core with a prologue.
async function remote() {
  const alone = await withCore({ keyPair: pair, manifest: structuredClone(manifest) }, async (core) => {
    await core.append(Array.from({ length: 21 }, (_, i) => block(i)));
    return hex(await fullyRemote.proof(core, { index: 5, block: block(5) }));
  });
  const m = Verifier.createManifest({ signers: [{ publicKey: pair.publicKey }], prologue: { hash: grow(10).hash(), length: 10 } });
  const prologue = await withCore({ keyPair: pair, manifest: m }, async (core) => {
    await core.append(Array.from({ length: 10 }, (_, i) => block(i)));
    await core.append(Array.from({ length: 4 }, (_, i) => block(10 + i)));
    const proofs = [];
    for (const [start, length] of [[0, 3], [5, 2], [0, 10], [10, 2], [10, 4], [0, 14]]) {
      const { upgrade } = await core.proof({ upgrade: { start, length } });
      proofs.push({ asked: [start, length], start: upgrade.start, length: upgrade.length, nodes: indices(upgrade.nodes),
        additional: indices(upgrade.additionalNodes), signature: hex(upgrade.signature) });
    }
    return { manifest: hex(Verifier.encodeManifest(m)), key: hex(core.key), proofs };
  });
  return { alone, prologue };
}

function large() {
  return [1000, 4097, 100_000].map((length) => {
    const batch = grow(length);
    return { length, bytes: batch.byteLength, tree: hex(batch.hash()), signature: hex(Verifier.sign(manifest, batch, pair)) };
  });
}

// ---- manifests ----

function manifests() {
  const signers = (n) => Array.from({ length: n }, (_, i) => ({ namespace: fill(50 + i), publicKey: fill(70 + i) }));
  const prologue = { hash: fill(9), length: 300 };
  const inputs = [
    { signers: signers(1) },
    { signers: [{ publicKey: pair.publicKey }] },
    { signers: signers(3) },
    { signers: signers(3), quorum: 3, allowPatch: true },
    { signers: signers(2), quorum: 1, prologue },
    { prologue },
    { version: 0, signers: signers(1) },
    { version: 0, signers: signers(1), allowPatch: true },
    { version: 0, signers: signers(4), quorum: 2 },
    { version: 0, prologue: { hash: fill(9), length: 0 } },
    { version: 2, signers: signers(1) },
    { signers: signers(2), linked: [fill(3), fill(4)], userData: Buffer.from('user data') },
    { version: 3, signers: signers(2), prologue, userData: Buffer.alloc(300, 7) },
  ];
  const made = inputs.map((input) => Verifier.createManifest(input));
  return made.map((m) => ({ encoded: hex(Verifier.encodeManifest(m)), key: hex(Verifier.manifestHash(m)), version: m.version,
    quorum: m.quorum, signers: m.signers.length, allow_patch: m.allowPatch, prologue: m.prologue && m.prologue.length,
    linked: m.linked && m.linked.length, user_data: m.userData && hex(m.userData) }));
}

// ---- signatures of several signers ----

async function multi() {
  const pairs = [11, 12, 13].map((seed) => crypto.keyPair(fill(seed)));
  const signers = pairs.map(({ publicKey }) => ({ publicKey }));
  const cases = [];
  const nodes = nodeMap(grow(40));
  for (const version of [0, 1]) {
    for (const allowPatch of [false, true]) {
      const m = Verifier.createManifest({ version, signers, quorum: 2, allowPatch });
      const verifier = Verifier.fromManifest(m);
      const sign = (who, length) => verifier.signers[who].sign(grow(length), pairs[who]);
      const part = async (who, at, length) => multisig.partialSignature({ state: session(nodes, length) }, who, at, length, sign(who, length));
      const tries = [
        { length: 20, signature: verifier.assemble([await part(0, 20, 20), await part(1, 20, 20)]) },
        { length: 20, signature: verifier.assemble([await part(2, 20, 20), await part(0, 20, 20), await part(1, 20, 20)]) },
        { length: 20, signature: verifier.assemble([await part(1, 20, 20), await part(1, 20, 20)]) },
        { length: 20, signature: verifier.assemble([await part(1, 20, 20)]) },
        { length: 21, signature: verifier.assemble([await part(0, 20, 20), await part(1, 20, 20)]) },
        { length: 20, signature: verifier.assemble([await part(0, 20, 20), await part(1, 20, 33)]) },
        { length: 5, signature: verifier.assemble([await part(0, 5, 33), await part(2, 5, 37)]) },
      ];
      for (const { length, signature } of tries) {
        let holds = false;
        try { holds = verifier.verify(grow(length), signature); } catch {}
        cases.push({ manifest: hex(Verifier.encodeManifest(m)), length, signature: hex(signature), holds });
      }
    }
  }
  // A prologue needs no signature for itself, and one for what follows.
  const m = Verifier.createManifest({ signers: [{ publicKey: pairs[0].publicKey }], prologue: { hash: grow(10).hash(), length: 10 } });
  const verifier = Verifier.fromManifest(m);
  for (const [length, signature] of [[10, null], [9, null], [11, null], [12, verifier.sign(grow(12), pairs[0])]]) {
    const holds = verifier.verify(grow(length), signature);
    cases.push({ manifest: hex(Verifier.encodeManifest(m)), length, signature: signature ? hex(signature) : '', holds });
  }
  return { seeds: [11, 12, 13], cases };
}

// ---- bytes and blocks ----

// Bytes before a block. The peer's own `byteOffset` is NaN behind the first root (11.37.1).
function offset(index) {
  let bytes = 0;
  for (let i = 0; i < index; i++) bytes += block(i).length;
  return bytes;
}

async function seeks() {
  const out = [];
  for (const { length, empty } of [{ length: 37, empty: false }, { length: 50, empty: true }]) {
    const all = nodeMap(grow(length, (i) => (empty && i % 5 < 2 ? Buffer.alloc(0) : block(i))));
    for (let i = 0; i < 60; i++) {
      const nodes = new Map(all);
      const roots = flat.fullRoots(2 * length);
      const missing = [];
      if (i % 2) {
        for (const index of all.keys()) if (!roots.includes(index) && random(8) === 0) missing.push(index);
        for (const index of missing) nodes.delete(index);
      }
      const tree = session(nodes, length);
      const padding = empty ? 0 : random(2) * 5;
      const at = i < 20 && !empty ? offset(random(length)) : random(tree.byteLength - padding * length + 30);
      const seeker = MerkleTree.seek(tree, at, padding);
      const found = await seeker.update();
      out.push({ length, empty, missing, bytes: at, padding, found, within: found || seeker.end === 0 ? null : [seeker.start, seeker.end],
        levels: await Promise.all([0, 7, 20].map((block) => MerkleTree.missingNodes(tree, 2 * block, length))),
        most: [0, 7, 20].map((block) => MerkleTree.maxMissingNodes(2 * block, length)) });
    }
  }
  return out;
}

const tree = grow(64);
const table = nodeMap(tree);
const { heads: compatHeads, key: compatKey } = await lengths({ keyPair: pair, compat: true }, []);
const trees = {
  from: `hypercore ${require(join(modules, 'hypercore/package.json')).version}`,
  constants: constants(),
  nodes: Array.from({ length: 127 }, (_, index) => [table.get(index).size, hex(table.get(index).hash)]),
  single: await lengths({ keyPair: pair, manifest: structuredClone(manifest) }, [1, 2, 3, 5, 8, 21, 37, 64]),
  compat: { key: compatKey, signatures: compatHeads.map(([, , signature]) => signature) },
  forked: await forked(),
  large: large(),
  reorgs: await reorgs(),
  remote: await remote(),
  seeks: await seeks(),
};
// What is not there is left out.
const given = (_, value) => (value && value.constructor === Object
  ? Object.fromEntries(Object.entries(value).filter(([key, inner]) => key === 'proof' || inner !== null)) : value);
const write = (name, value) => writeFileSync(join(process.argv[2], name), `${JSON.stringify(value, given)}\n`);
write('core.json', trees);
write('core-manifests.json', { from: trees.from, manifests: manifests(), multi: await multi() });
