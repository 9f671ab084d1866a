// Opens the resumable answer's page in a Chromium of its own, and does what its arguments say, a step each. Out: a line of
// JSON for each step: what the page shows then.
//
// Arguments: the page's URL, a folder for screenshots, and the steps: `text:<n>` waits for so many characters,
// `reload`, `stop`, `over` waits for the end, `dark`, `shot:<name>`.

import { chromium } from 'playwright-core';

const [url, shots, ...steps] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
});
const page = await browser.newPage({ viewport: { width: 900, height: 640 } });
await page.goto(url);

async function take(step) {
  const [name, argument] = step.split(':');
  if (name === 'text') await page.waitForFunction((n) => document.querySelector('#answer').textContent.length >= n, Number(argument));
  if (name === 'reload') await page.reload();
  if (name === 'stop') await page.click('#stop');
  if (name === 'over') await page.waitForFunction(() => !document.querySelector('#answer').classList.contains('streaming'));
  if (name === 'dark') await page.emulateMedia({ colorScheme: 'dark' });
  if (name === 'shot') await page.screenshot({ path: `${shots}/${argument}.png` });
  const [text, status] = await Promise.all([page.textContent('#answer'), page.textContent('#status')]);
  console.log(JSON.stringify({ step, text, status }));
}

for (const step of steps) await take(step);
await browser.close();
