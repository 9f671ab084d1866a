// Opens the console in a Chromium of its own, and does what its arguments say, a step each, by keyboard alone. Out: a line
// of JSON for each step that asks something.
//
// Arguments: the console's URL, a folder for screenshots, and the steps, each a JSON object with one member:
//   press: <key>                       as playwright names it, `Control+Enter` say
//   type: <text>
//   tab: <name>                        presses Tab until what has this accessible name has the focus
//   back: <name>                       the same, with Shift
//   see: [<selector>, <text>]          waits until the element shows the text
//   exact: [<selector>, <text>]        waits until the element shows the text and nothing else
//   gone: [<selector>, <text>]         waits until no such element shows the text
//   text: <selector>                   what it shows
//   count: <selector>                  how many there are
//   focus: true                        the accessible name of what has the focus
//   run: <name>                        one of the checks below
//   width: <pixels>, dark: <boolean>, shot: <name>, reload: true
//
// A script error, a refused resource or a dialog that a payload opened fails the run.

import { chromium } from 'playwright-core';

const [url, shots, ...steps] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 860 } });
// Less than our caller's patience, so that it is told which step failed.
page.setDefaultTimeout(15_000);
const wrongs = [];
page.on('pageerror', (error) => wrongs.push(String(error)));
page.on('console', (message) => {
  // An answer of 4xx is told here too, and is the server's right.
  if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) wrongs.push(message.text());
});
page.on('dialog', (dialog) => {
  wrongs.push(`a dialog: ${dialog.message()}`);
  dialog.dismiss();
});
await page.goto(url);

const focused = () => page.evaluate(() => {
  const { activeElement: at } = document;
  const labelled = (at.getAttribute('aria-labelledby') ?? '').split(' ').map((id) => document.getElementById(id)?.textContent ?? '').join(' ');
  return (at.getAttribute('aria-label') ?? (labelled.trim() || at.labels?.[0]?.textContent) ?? at.textContent).trim();
});

async function tab(key, name) {
  for (let presses = 0; presses < 80; presses += 1) {
    await page.keyboard.press(key);
    if ((await focused()) === name) return;
  }
  throw new Error(`${key} does not reach "${name}"`);
}

const containing = ([selector, text]) => page.locator(selector).filter({ hasText: text, visible: true });

const checks = {
  // A stream means the same however the network cuts it.
  decoder: () => page.evaluate(async () => {
    const { Decoder } = await import(new URL('console/event_stream.js', document.baseURI));
    const read = (...chunks) => {
      const told = [];
      const decoder = new Decoder((block) => told.push(block));
      chunks.forEach((chunk) => decoder.feed(chunk));
      return JSON.stringify(told);
    };
    const stream = ': hello\r\n\r\nretry: 7\n\nid: 1\r\n\r\nevent: stream.position\ndata: {}\nid: 1-1\n\nid:2-0\rdata: a\rdata:\rdata:  b\r\r\nevent: x\ndata: c\n\nid: 3\0\n\ndata: unfinished';
    const whole = read(stream);
    for (let cut = 0; cut <= stream.length; cut += 1) {
      const parts = read(stream.slice(0, cut), stream.slice(cut));
      if (parts !== whole) return { cut, parts, whole };
    }
    return JSON.parse(whole === read(...stream) ? whole : '"char by char it is another"');
  }),
  // Nothing is wider than the window.
  overflow: () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth),
};

async function take({ press, type, see, gone, text, count, focus, run, width, dark, shot, reload, ...step }) {
  if (press) await page.keyboard.press(press);
  if (type) await page.keyboard.type(type);
  if (step.tab) await tab('Tab', step.tab);
  if (step.back) await tab('Shift+Tab', step.back);
  if (see) await containing(see).first().waitFor();
  if (step.exact) await page.waitForFunction(([selector, text]) => document.querySelector(selector).textContent === text, step.exact);
  if (gone) await containing(gone).first().waitFor({ state: 'detached' });
  if (width) await page.setViewportSize({ width, height: width < 600 ? 900 : 860 });
  if (dark !== undefined) await page.emulateMedia({ colorScheme: dark ? 'dark' : 'light' });
  if (shot) await page.screenshot({ path: `${shots}/${shot}.png`, fullPage: true });
  if (reload) await page.reload();
  if (text) return page.locator(text).first().innerText();
  if (count) return page.locator(count).count();
  if (focus) return focused();
  if (run) return checks[run]();
  return undefined;
}

for (const step of steps) {
  const answer = await take(JSON.parse(step)).catch((error) => {
    throw new Error(`${step}: ${error.message}\n${wrongs.join('\n')}`);
  });
  if (answer !== undefined) console.log(JSON.stringify(answer));
}
await browser.close();
if (wrongs.length > 0) throw new Error(wrongs.join('\n'));
