// Shows an example's page in a Chromium of its own, word for word as its README has it opened.
//
// Arguments: the example's folder, a folder for the browser's profile, the port that stands for 127.0.0.1:8080, and the
// file that has Datastar. In, a line of JSON each: {"open": <page>, "instead": {<text>: <text>}}, {"hide": true} and
// {"back": true}, which bring another tab to the front and this one again, and {"close": true}. Out: "opened"
// before the page is loaded and when no other is there any more, {"shown": {"notes": [<text>], "body": <text>}} at each
// change of it, {"visibility": <state>}, "cursor" when it has one without an event, and {"wrong": <what>}.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const [folder, profile, serverPort, datastar] = process.argv.slice(2);
const say = (line) => console.log(JSON.stringify(line));
const here = (file) => readFile(new URL(file, import.meta.url));
const { dependencies } = JSON.parse(await here('package.json'));
let instead = {};

// A file of an npm package, of exactly the version that is asked for.
function ofPackage(name, version, file) {
  const alias = Object.keys(dependencies).find((alias) => dependencies[alias] === `npm:${name}@${version}`);
  const installed = dependencies[name] === version ? name : alias;
  if (!installed) throw new Error(`${name}@${version} is not in package.json`);
  return here(`node_modules/${installed}/${file}`);
}

async function ofDatastar(version) {
  const bundle = await readFile(datastar, 'utf8');
  if (!bundle.startsWith(`// Datastar v${version} `)) throw new Error(`${datastar} is not of version ${version}`);
  return bundle;
}

async function ofExample(path) {
  // There is no CDN here: this site is one too.
  let page = (await readFile(folder + path, 'utf8')).replaceAll('https://cdn.jsdelivr.net/', '/');
  for (const [text, other] of Object.entries(instead)) {
    if (!page.includes(text)) throw new Error(`${path} does not have ${text}`);
    page = page.replaceAll(text, other);
  }
  return page;
}

async function find(path) {
  const [, name, version, file] = path.match(/^\/npm\/(@?[^@]+)@([^/]+)\/(.+)$/) ?? [];
  if (name) return ['text/javascript', await ofPackage(name, version, file)];
  const [, release] = path.match(/^\/gh\/starfederation\/datastar@v([^/]+)\/bundles\/datastar\.js$/) ?? [];
  if (release) return ['text/javascript', await ofDatastar(release)];
  return ['text/html', await ofExample(path)];
}

const site = createServer(async ({ url }, response) => {
  try {
    const [type, body] = await find(url);
    response.writeHead(200, { 'content-type': type }).end(body);
  } catch (error) {
    say({ wrong: String(error) });
    response.writeHead(404).end();
  }
});
site.listen(0, '127.0.0.1');
await once(site, 'listening');

// Tabs in the background are hidden only where playwright changes nothing about the browser: where it connects to one
// that runs already. The pipe is there because the browser ends with it, and so with this process.
const chromiumProcess = spawn(
  process.env.CHROMIUM ?? '/usr/bin/chromium',
  [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--no-first-run',
    '--remote-debugging-port=0',
    '--remote-debugging-pipe',
    `--user-data-dir=${profile}`,
    `--host-resolver-rules=MAP localhost:8000 127.0.0.1:${site.address().port},MAP 127.0.0.1:8080 127.0.0.1:${serverPort}`,
    'about:blank',
  ],
  { stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'] },
);
const ended = once(chromiumProcess, 'exit');
const endpoint = await new Promise((resolve, reject) => {
  let log = '';
  chromiumProcess.stderr.on('data', (data) => {
    log += data;
    const [, url] = log.match(/listening on (ws:\S+)/) ?? [];
    if (url) resolve(url);
  });
  ended.then(() => reject(new Error(log)), reject);
});
const browser = await chromium.connectOverCDP(endpoint, { noDefaults: true });
const [context] = browser.contexts();
const other = await context.newPage();
const page = await context.newPage();
page.on('pageerror', (error) => say({ wrong: String(error) }));
// What `fetch` got is seen when it comes back; of an EventSource only the browser's own tools tell.
page.on('request', (request) => {
  const cursor = request.method() === 'GET' && request.headers()['last-event-id'];
  if (cursor) say('cursor');
});
const tools = await context.newCDPSession(page);
await tools.send('Network.enable');
tools.on('Network.eventSourceMessageReceived', ({ eventName }) => {
  if (eventName === 'stream.position') say('cursor');
});
await page.exposeFunction('report', say);
await page.addInitScript(() => {
  const look = () => {
    const notes = [...document.querySelectorAll('#notes > *')].map((note) => note.textContent);
    report({ shown: { notes, body: document.body?.innerText ?? '' } });
  };
  new MutationObserver(look).observe(document, { childList: true, subtree: true, characterData: true });
  document.addEventListener('visibilitychange', () => report({ visibility: document.visibilityState }));
});

async function obey(command) {
  if (command.open) {
    instead = command.instead ?? {};
    await page.bringToFront();
    await page.goto('about:blank');
    say('opened');
    await page.goto(`http://localhost:8000/${command.open}`);
  }
  if (command.hide) await other.bringToFront();
  if (command.back) await page.bringToFront();
  return Boolean(command.close);
}

for await (const line of createInterface({ input: process.stdin })) {
  if (await obey(JSON.parse(line))) break;
}
chromiumProcess.kill();
await ended;
process.exit();
