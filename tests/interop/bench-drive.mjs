// Measures the JavaScript Hyperdrive: small files put and got, and one large file put and read. One JSON line for each.
//
//   HEARTH_TEST_NODE_MODULES=… node bench-drive.mjs [FILES] [MIB]
import { createRequire } from 'node:module';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const require = createRequire(join(process.env.HEARTH_TEST_NODE_MODULES, 'x.js'));
const Corestore = require('corestore');
const Hyperdrive = require('hyperdrive');

const files = Number(process.argv[2] ?? 1000);
const mib = Number(process.argv[3] ?? 256);
const block = Buffer.alloc(65536);
for (let i = 0; i < block.length; i++) block[i] = (i * 31 + (i >> 8)) & 0xff;

const folder = mkdtempSync(join(tmpdir(), 'bench-drive-'));
const store = new Corestore(join(folder, 'store'));
const drive = new Hyperdrive(store);
await drive.ready();

const say = (what, value) => console.log(JSON.stringify({ what, ...value }));
const seconds = async (run) => { const start = process.hrtime.bigint(); await run(); return Number(process.hrtime.bigint() - start) / 1e9; };
const order = Array.from({ length: files }, (_, i) => (i * 7919) % files);
const name = (i) => `/folder-${i % 10}/file-${i}`;

const put = await seconds(async () => { for (let i = 0; i < files; i++) await drive.put(name(i), block.subarray(i % 1024, i % 1024 + 1024)); });
say('drive-put-1k', { per_s: files / put });
const get = await seconds(async () => { for (const i of order) await drive.get(name(i)); });
say('drive-get-1k', { per_s: files / get });
const large = await seconds(async () => {
  const stream = drive.createWriteStream('/large');
  const end = new Promise((resolve, reject) => stream.on('close', resolve).on('error', reject));
  for (let i = 0; i < mib * 16; i++) if (!stream.write(block)) await new Promise((resolve) => stream.once('drain', resolve));
  stream.end();
  await end;
});
say(`drive-put-${mib}m`, { mib_per_s: mib / large });
const read = await seconds(async () => { for await (const chunk of drive.createReadStream('/large')) void chunk; });
say(`drive-read-${mib}m`, { mib_per_s: mib / read });

await drive.close();
rmSync(folder, { recursive: true, force: true });
