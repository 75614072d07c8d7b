// Measures the JavaScript peer's replication: 256 MiB in blocks of 64 KiB from one process to another over TCP on loopback.
import { createServer, connect } from 'node:net';
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load } from './peer.mjs';

const Hypercore = load('hypercore');
const NoiseSecretStream = load('@hyperswarm/secret-stream');

const blocks = Number(process.argv[2] ?? 4096);
const bytes = Number(process.argv[3] ?? 65536);
const folder = mkdtempSync(join(tmpdir(), 'bench-replicate-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 9 }));

if (process.argv[4] === 'seed') {
  const core = new Hypercore(folder);
  await core.ready();
  for (let at = 0; at < blocks; at += 64) {
    const batch = [];
    for (let i = at; i < Math.min(at + 64, blocks); i++) {
      const block = Buffer.allocUnsafe(bytes);
      for (let j = 0; j + 4 <= bytes; j += 4) block.writeUInt32LE((Math.imul(i + 1, 2654435761) ^ Math.imul(j, 40503)) >>> 0, j);
      batch.push(block);
    }
    await core.append(batch);
  }
  const server = createServer({ noDelay: true }, (socket) => core.replicate(new NoiseSecretStream(false, socket)));
  server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port, key: core.key.toString('hex') }));
  process.on('disconnect', async () => { await core.close(); process.exit(0); });
} else {
  const seeder = fork(process.argv[1], [blocks, bytes, 'seed']);
  const { port, key } = await new Promise((resolve) => seeder.once('message', resolve));
  const core = new Hypercore(folder, Buffer.from(key, 'hex'));
  await core.ready();
  const before = process.memoryUsage().rss;
  const started = performance.now();
  const stream = new NoiseSecretStream(true, connect({ port, host: '127.0.0.1', noDelay: true }));
  core.replicate(stream);
  await core.download({ start: 0, end: blocks }).done();
  const seconds = (performance.now() - started) / 1000;
  console.log(JSON.stringify({ what: 'replicate-tcp', mib_per_s: blocks * bytes / 1048576 / seconds }));
  console.log(JSON.stringify({ what: 'transfer-memory', mib: (process.resourceUsage().maxRSS * 1024 - before) / 1048576 }));
  seeder.disconnect();
  await core.close();
  process.exit(0);
}
