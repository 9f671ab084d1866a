// Opens the page of README in a Chromium of its own, and waits until its list has so many entries. Out: the entries, a JSON array.
//
// Arguments: the page's URL, and how many entries.

import { chromium } from 'playwright-core';

const [url, entries] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
});
const page = await browser.newPage();
await page.goto(url);
await page.waitForFunction((n) => document.querySelectorAll('#events li').length >= n, Number(entries));
console.log(`[${await page.locator('#events li').allTextContents()}]`);
await browser.close();
