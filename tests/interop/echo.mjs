// A peer that answers what it is told: shows that the packages are there and that harness and script understand each other.
import { load, obey, say } from './peer.mjs';

const b4a = load('b4a');
say('ready', { core: load('hypercore/package.json').version });
await obey({ echo: ({ text }) => ({ text: b4a.toString(b4a.from(text)) }) });
