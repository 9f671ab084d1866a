/** How many bytes to pass as arguments of one call. */
const PART = 32 * 1024;

/** Encodes bytes as base64. */
export function textOf(bytes: Uint8Array): string {
  let binary = '';
  for (let from = 0; from < bytes.byteLength; from += PART) binary += String.fromCharCode(...bytes.subarray(from, from + PART));
  return btoa(binary);
}

/** Decodes base64. */
export function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
