// One end of a UDX stream, with a secret stream in it: sends and receives a pattern of bytes, and messages beside.
import { load, obey, say } from './peer.mjs';

const UDX = load('udx-native');
const SecretStream = load('@hyperswarm/secret-stream');

const host = '127.0.0.1';
const udx = new UDX();
const socket = udx.createSocket();
socket.bind(0, host);
const id = 1 + Math.floor(Math.random() * 0x7fffffff);
const raw = udx.createStream(id);
let stream = null;
let received = 0;
let same = true;
let ended = null;

const patternAt = (at) => (at * 31 + Math.floor(at / 251)) & 255;

function pattern(from, length) {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = patternAt(from + i);
  return bytes;
}

say('ready', { port: socket.address().port, id });
await obey({
  async connect({ port, id, initiator }) {
    raw.connect(socket, id, port, host);
    stream = new SecretStream(initiator, raw);
    ended = new Promise((resolve) => stream.once('end', resolve));
    stream.on('data', (data) => {
      for (let i = 0; i < data.byteLength; i++) same &&= data[i] === patternAt(received + i);
      received += data.byteLength;
    });
    stream.on('message', (data) => say('message', { text: data.toString() }));
    stream.on('error', (error) => say('closed', { code: error.code ?? error.message }));
    if (!(await stream.opened)) throw new Error('the stream was not opened');
  },
  async send({ bytes }) {
    for (let at = 0; at < bytes; at += 65536) {
      const drained = stream.write(pattern(at, Math.min(65536, bytes - at)));
      if (!drained) await new Promise((resolve) => stream.once('drain', resolve));
    }
    stream.end();
  },
  async received() {
    await ended;
    return { received, same };
  },
  message: ({ text }) => stream.trySend(Buffer.from(text)),
  destroy: () => stream.destroy(),
});
