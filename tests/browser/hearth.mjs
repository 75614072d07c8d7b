// Walks the appliance's pages in Debian's Chromium as a person would, at a given window size.
//
//   node hearth.mjs BASE-URL SCREENSHOT-FOLDER ACTION WIDTHxHEIGHT [ARGUMENTS…]
//
// Prints findings as `key=value`; any surprise ends it with an error and a screenshot.
import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

const require = createRequire(join(process.env.HEARTH_TEST_NODE_MODULES, 'x.js'));
const { chromium } = require('playwright-core');

const [base, screenshots, action, size, ...words] = process.argv.slice(2);
const [width, height] = size.split('x').map(Number);
const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/snap/bin/chromium'].find(existsSync);
const found = (key, value) => console.log(`${key}=${value}`);
const check = (truth, sentence) => { if (!truth) throw new Error(sentence); };

const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
async function visitor(options = {}) {
  const context = await browser.newContext({ viewport: { width, height }, ...options });
  // Four machines share the processors, each emulated: what takes a second on a box may take a minute here.
  context.setDefaultTimeout(150_000);
  return context;
}
const context = await visitor({ timezoneId: 'America/New_York', acceptDownloads: true });
const page = await context.newPage();
const problems = [];
page.on('pageerror', (e) => problems.push(`script error: ${e.message}`));
page.on('console', (m) => { if (m.type() === 'error' && !/Failed to load resource|net::ERR/.test(m.text())) problems.push(`console: ${m.text()}`); });

const id = (name) => page.getByTestId(name);
let shots = 0;
async function shot(name) {
  await page.screenshot({ path: join(screenshots, `${action}-${width}-${String(++shots).padStart(2, '0')}-${name}.png`), fullPage: true });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  check(wide <= 0, `${name}: the page is ${wide} pixels wider than the window`);
}
// A heading is there before the rest of its page: what follows it may still be on its way from a slow box.
async function arrived(at) { await id(at).waitFor(); await page.waitForLoadState('load'); }
async function next(to) { await id('primary').click(); await arrived(to); }

async function walk([name, user, password, grow]) {
  await page.goto(`${base}/`);
  await id('step-welcome').waitFor();
  await shot('welcome');
  await next('step-name');
  await id('host-name').fill('not a name!');
  await id('primary').click();
  await id('error-host_name').waitFor();
  await shot('name-error');
  await id('host-name').fill(name);
  await next('step-time-zone');
  check(await id('time-zone').inputValue() === 'America/New_York', 'the browser\'s time zone is not suggested');
  await shot('time-zone');
  await page.reload();
  await arrived('step-time-zone');
  await id('time-zone').selectOption('Europe/Paris');
  await next('step-administrator');
  await id('back').click();
  await arrived('step-time-zone');
  check(await id('time-zone').inputValue() === 'Europe/Paris', 'the answer is gone after going back');
  await next('step-administrator');
  await id('name').fill(user);
  await id('password').fill('password');
  await id('repeat').fill('password');
  await id('primary').click();
  await id('error-password').waitFor();
  await shot('administrator-weak');
  await id('name').fill(user);
  await id('password').fill(password);
  await id('repeat').fill(password);
  await shot('administrator');
  await next('step-network');
  await shot('network');
  await second(name);
  await next('step-storage');
  await shot('storage');
  if (grow === 'grow') {
    await id('grow').click();
    await page.locator('[data-testid=growth][data-phase=complete]').waitFor();
    await shot('storage-grown');
  }
  await next('step-updates');
  await id('policy-notify').check();
  await shot('updates');
  await next('step-summary');
  await shot('summary');
  await id('primary').click();
  await id('done-address').waitFor();
  await shot('done');
  found('address', await id('done-address').innerText());
  // Locked for good: a second claimant meets the login.
  const stranger = await visitor();
  const other = await stranger.newPage();
  await other.goto(`${base}/setup/welcome`);
  check(other.url().endsWith('/login'), `a second claimant got to ${other.url()}`);
  const forced = await stranger.request.post(`${base}/setup/administrator`, {
    headers: { Origin: base }, form: { name: 'mallory', password: 'kettle-orbit-94-moss', repeat: 'kettle-orbit-94-moss', revision: '0', token: 'x', do: 'continue' },
  });
  check([403, 409, 410].includes(forced.status()), `claiming again was answered with ${forced.status()}`);
  await stranger.close();
}

// Another browser in the middle of setup, after the administrator was chosen: it must prove the password.
async function second() {
  const stranger = await visitor();
  const other = await stranger.newPage();
  await other.goto(`${base}/setup`);
  check(other.url().endsWith('/setup/continue'), `a second browser got to ${other.url()}`);
  await other.getByTestId('name').fill('mallory');
  await other.getByTestId('password').fill('let-me-in-please-1');
  await other.getByTestId('submit').click();
  await other.getByTestId('error-form').waitFor();
  await stranger.close();
}

async function login([name, user, password]) {
  await page.goto(`${base}/login`);
  await shot('login');
  await id('name').fill(user);
  await id('password').fill('wrong-password-1');
  await id('submit').click();
  await id('error-form').waitFor();
  await id('name').fill(user);
  await id('password').fill(password);
  await id('submit').click();
  await id('value-uptime').waitFor();
  await page.waitForTimeout(4000);
  await shot('overview');
  const text = (hook) => id(hook).first().innerText();
  for (const hook of ['version', 'slot', 'uptime', 'temperature', 'memory-text', 'storage-text', 'network', 'services']) {
    found(hook, (await text(`value-${hook}`)).replaceAll('\n', ' '));
  }
  found('live', await text('live-state'));
  check((await page.content()).includes(name), 'the overview does not show the name of the box');
}

async function device() {
  await id('nav-device').first().click();
  await id('reboot').waitFor();
  await shot('device');
}

async function diagnosis(secrets) {
  await device();
  const [download] = await Promise.all([page.waitForEvent('download'), id('diagnosis').click()]);
  const bytes = await readFile(await download.path());
  found('diagnosis', download.suggestedFilename());
  const { gunzipSync } = await import('node:zlib');
  const text = gunzipSync(bytes).toString('latin1');
  for (const secret of [...secrets, '$argon2']) check(!text.includes(secret), 'the diagnosis bundle holds a secret');
  check(text.includes('boot.json') && text.includes('journal'), 'the diagnosis bundle lacks its parts');
  found('diagnosis-bytes', bytes.length);
}

async function reboot() {
  await device();
  await id('reboot').click();
  await id('waiting').waitFor();
  await shot('waiting');
  await id('wait-continue').waitFor({ timeout: 600_000 });
  await shot('back');
}

async function reset([name]) {
  await device();
  await id('factory-reset').click();
  await id('confirm').fill('wrong');
  await id('submit').click();
  await id('error-confirm').waitFor();
  await shot('factory-reset');
  await id('confirm').fill(name);
  await id('submit').click();
  await id('waiting').waitFor();
}

async function enter([, user, password]) {
  await page.goto(`${base}/login`);
  await id('name').fill(user);
  await id('password').fill(password);
  await id('submit').click();
  await id('value-uptime').waitFor();
}

const title = () => id('update-title').innerText();

// From the page that waits for the box to the page Updates of the system that has started.
async function restarted(words) {
  // A box so slow that it ends before the page has heard why leaves a page that asks for itself anew when it is back: the login.
  await id('waiting').or(id('form-login')).first().waitFor({ timeout: 600_000 });
  const told = await id('waiting').count() > 0;
  found('restart', told ? 'announced' : 'found out');
  if (told) {
    await shot('restarting');
    await id('wait-continue').waitFor({ timeout: 600_000 });
  }
  await enter(words);
  await page.goto(`${base}/updates`);
}

// Looks for an update, installs it, and sees it prove itself.
async function update(words) {
  await enter(words);
  await page.goto(`${base}/updates`);
  await shot('unchecked');
  await id('check').click();
  await id('available').waitFor();
  check((await title()).includes('0.2.0'), `offered: ${await title()}`);
  // The size of the download is worked out after the offer is shown.
  await page.waitForFunction(() => / of /.test(document.querySelector('[data-testid=value-download]')?.innerText ?? ''));
  found('download', await id('value-download').innerText());
  await shot('available');
  await id('install-now').click();
  await page.locator('[data-testid=progress-text]').waitFor();
  found('progress', await id('progress-text').innerText());
  await shot('installing');
  await restarted(words);
  await page.locator('section[data-phase=good]').waitFor({ timeout: 600_000 });
  found('title', await title());
  found('installed', await id('value-version').innerText());
  check(/0\.2\.0/.test(await page.locator('#live-history').innerText()), 'the history does not name the update');
  await shot('good');
}

// Takes it back.
async function goBack(words) {
  await enter(words);
  await page.goto(`${base}/updates`);
  await id('go-back').click();
  await shot('question');
  await id('submit').click();
  await restarted(words);
  await page.waitForFunction(() => document.querySelector('[data-testid=value-version]')?.innerText === '0.1.0');
  found('title', await title());
  await shot('back');
}

try {
  if (action === 'update') {
    await update(words);
  } else if (action === 'go-back') {
    await goBack(words);
  } else if (action === 'setup') {
    await walk(words);
    await login(words);
    await diagnosis([words[2]]);
    await reboot();
    await login(words);
  } else if (action === 'reset') {
    await login(words);
    await reset(words);
  } else {
    throw new Error(`no action ${action}`);
  }
  check(problems.length === 0, problems.join('\n'));
} catch (error) {
  await page.screenshot({ path: join(screenshots, `FAILED-${action}-${width}.png`), fullPage: true }).catch(() => {});
  console.error(`${page.url()}: ${error.message}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
