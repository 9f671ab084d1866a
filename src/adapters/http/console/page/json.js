// JSON as the publisher wrote it, as far as the browser can: numbers keep their digits (1.0, 12345678901234567890).

const exactly = typeof JSON.rawJSON === 'function'
  ? (_key, value, context) => (typeof value === 'number' && context ? JSON.rawJSON(context.source) : value)
  : undefined;

export const parse = (text) => JSON.parse(text, exactly);

export const inOneLine = (value) => JSON.stringify(value) ?? '';

export const pretty = (value) => JSON.stringify(value, null, 2) ?? '';
