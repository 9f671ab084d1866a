// The functions of vitest that the test files of assistant-stream use, on Node's test runner.

import { afterEach, beforeEach, describe, it as nodeIt, type TestContext } from 'node:test';
import * as chai from 'chai';
import { JestAsymmetricMatchers, JestChaiExpect, JestExtend } from '@vitest/expect';
import { fn, restoreAllMocks, spyOn } from '@vitest/spy';

for (const plugin of [JestExtend, JestChaiExpect, JestAsymmetricMatchers]) chai.use(plugin);

/** Thrown to skip a test that needs something that only a store in memory has. */
export class Unsupported extends Error {}

type Context = { onTestFinished: (run: () => void) => void };
type Body = (context: Context) => unknown;

function run(body: Body) {
  return async (t: TestContext) => {
    try {
      await body({ onTestFinished: (finish) => t.after(finish) });
    } catch (error) {
      if (!(error instanceof Unsupported)) throw error;
      t.skip(error.message);
    }
  };
}

/** Tests of the in-memory store's internals, and one that expects a reader to receive a chunk within a turn of the event loop. */
const OF_MEMORY = [/^does not sweep .* retained streams/, /^delete prevents further reads and ends in-flight reads/];

const it = (name: string, body: Body) => void nodeIt(name, { skip: OF_MEMORY.some((pattern) => pattern.test(name)) }, run(body));
it.each = (cases: readonly unknown[]) => (name: string, body: (value: unknown) => unknown) => {
  for (const value of cases) it(`${name} (${String(value)})`, () => body(value));
};

async function waitFor<T>(check: () => T | Promise<T>): Promise<T> {
  const latest = Date.now() + 5_000;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > latest) throw error;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

const useFakeTimers = () => {
  throw new Unsupported('the server has its own clock');
};

/** `expect`, with asymmetric matchers such as `expect.any`, which the plugins add to chai's `expect`. */
const expect = Object.assign((value: unknown, message?: string) => chai.expect(value, message), chai.expect, {
  poll: (read: () => unknown) =>
    new Proxy({} as Record<string, unknown>, {
      get:
        (_, matcher: string) =>
        (...expected: unknown[]) =>
          waitFor(async () =>
            (chai.expect(await read()) as unknown as Record<string, (...values: unknown[]) => void>)[matcher]!(...expected),
          ),
    }),
});

const vi = { fn, spyOn, restoreAllMocks, waitFor, useFakeTimers, useRealTimers: () => undefined };

export { afterEach, beforeEach, describe, expect, it, it as test, vi };
