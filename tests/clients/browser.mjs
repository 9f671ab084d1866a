// Drives one headless Chromium until standard input ends.
//
// In, a line each: {"open": <number>, "url": <page>} and {"close": <number>}. Out: what the pages report, each line with
// the number of its page.

import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  // No sandbox: it refuses to run as root, as it does in many a container. The rest keeps the browser from calling home.
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--no-first-run',
  ],
});
const contexts = new Map();

async function open(number, url) {
  const context = await browser.newContext();
  contexts.set(number, context);
  await context.exposeBinding('report', (_source, report) => console.log(JSON.stringify({ page: number, ...report })));
  const page = await context.newPage();
  // Its test will miss it, and go on about it; the other pages have nothing to do with it.
  await page.goto(url).catch((error) => console.error(`no page ${number}:`, error));
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  if (command.url) {
    await open(command.open, command.url);
  } else {
    await contexts.get(command.close)?.close();
    contexts.delete(command.close);
  }
}
await browser.close();
