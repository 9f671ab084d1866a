// Rewrites the imports of the test files that assistant-stream ships, compiled to build/assistant-stream: to the package's built
// modules, to vitest's functions on Node's test runner, and to our store instead of the one in memory.

import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { PACKAGE } from './support.js';

const BUILT = resolve(PACKAGE, 'build/assistant-stream');
const MODULES = resolve(PACKAGE, 'node_modules/assistant-stream/dist/resumable');

/** Returns the path of the module to import instead. */
function moduleOf(file: string, name: string): string {
  if (name === 'vitest') return resolve(PACKAGE, 'build/vitest.js');
  if (name.endsWith('/InMemoryResumableStreamStore')) return resolve(PACKAGE, 'build/assistant-stream-store.js');
  return `${resolve(MODULES, relative(BUILT, dirname(file)), name)}.js`;
}

for (const name of readdirSync(BUILT, { recursive: true, encoding: 'utf8' })) {
  if (!name.endsWith('.test.js')) continue;
  const file = resolve(BUILT, name);
  const text = readFileSync(file, 'utf8');
  writeFileSync(
    file,
    text.replaceAll(/ from "([^"]+)"/g, (_, from: string) => ` from "${relative(dirname(file), moduleOf(file, from))}"`),
  );
}
