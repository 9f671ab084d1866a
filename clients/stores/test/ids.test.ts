import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMessageId, messageIdOf } from '@rejoin/stores';

test('ids that Rejoin accepts are left unchanged', async () => {
  for (const id of ['a', 'chat:1', 'A.b_c-9', 'x'.repeat(128), 'e', 'eh:1', '3d9f0c6e-7f0a-4f8e-9f0e-0f8d1c2b3a4d', '...']) {
    assert.equal(await messageIdOf(id), id);
  }
});

test('all other ids become ids that Rejoin accepts', async () => {
  const cases: [string, string][] = [
    ['', 'e:'],
    ['.', 'e:.2e'],
    ['..', 'e:.2e.2e'],
    ['a/b c', 'e:a.2fb.20c'],
    ['ü', 'e:.c3.bc'],
    ['e:1', 'e:e:1'],
    ['h:1', 'e:h:1'],
    ['3D9F0C6E-7F0A-4F8E-9F0E-0F8D1C2B3A4D', 'e:3D9F0C6E-7F0A-4F8E-9F0E-0F8D1C2B3A4D'],
    ['3d9f0c6e7f0a4f8e9f0e0f8d1c2b3a4d', 'e:3d9f0c6e7f0a4f8e9f0e0f8d1c2b3a4d'],
    ['urn:uuid:3d9f0c6e-7f0a-4f8e-9f0e-0f8d1c2b3a4d', 'e:urn:uuid:3d9f0c6e-7f0a-4f8e-9f0e-0f8d1c2b3a4d'],
    ['x'.repeat(129), 'h:bu2QN-vRl9X2Wkl4Z9fg8ehIFUKzHOJtA36E6x7lhrI'],
  ];
  for (const [id, expected] of cases) {
    const made = await messageIdOf(id);
    assert.ok(isMessageId(made), made);
    if (!made.startsWith('h:')) assert.equal(made, expected);
    else assert.match(made, /^h:[A-Za-z0-9_-]{43}$/);
  }
});

test('different ids have different messages', async () => {
  const parts = [
    '',
    'a',
    '.',
    '..',
    'e:',
    'h:',
    '/',
    ':',
    'é',
    '\0',
    '\u{1f30d}',
    '2e',
    '.2e',
    'x'.repeat(126),
    'x'.repeat(127),
    'ü'.repeat(60),
  ];
  const ids = new Set(parts.flatMap((first) => parts.flatMap((second) => parts.map((third) => first + second + third))));
  const uuid = crypto.randomUUID();
  for (const spelling of [uuid, uuid.toUpperCase(), uuid.replaceAll('-', ''), `urn:uuid:${uuid}`, `{${uuid}}`]) ids.add(spelling);
  const made = await Promise.all([...ids].map(messageIdOf));
  assert.equal(new Set(made).size, ids.size);
  // Rejoin treats all spellings of a UUID as the same message, so only one of them may be left.
  const asUuids = made
    .map((id) =>
      id
        .toLowerCase()
        .replace(/^urn:uuid:/, '')
        .replaceAll('-', ''),
    )
    .filter((id) => /^[0-9a-f]{32}$/.test(id));
  assert.equal(new Set(asUuids).size, asUuids.length);
  for (const id of made) assert.ok(isMessageId(id), id);
});

test('an id with a lone surrogate is refused', async () => {
  await assert.rejects(messageIdOf('a\ud83d'), TypeError);
});
