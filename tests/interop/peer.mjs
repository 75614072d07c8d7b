// What every script of a JavaScript peer needs: the npm packages, events out, commands in.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** Loads an npm package from the folder that the tests installed. */
export const load = createRequire(join(process.env.HEARTH_TEST_NODE_MODULES, 'x.js'));

/** Says what happened: one line of JSON. */
export const say = (event, more = {}) => process.stdout.write(`${JSON.stringify({ event, ...more })}\n`);

/** Obeys commands `{"do": NAME, …}`: the answer is an event of the same name with what the handler returns. Ends with the input. */
export async function obey(handlers) {
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    try {
      const handler = handlers[command.do];
      if (!handler) throw new Error(`no such command: ${command.do}`);
      say(command.do, (await handler(command)) ?? {});
    } catch (error) {
      say('error', { do: command.do, message: error.stack });
    }
  }
  process.exit(0);
}

process.on('uncaughtException', (error) => { say('error', { message: error.stack }); process.exit(1); });
process.on('unhandledRejection', (error) => { say('error', { message: error?.stack ?? String(error) }); process.exit(1); });
