import type { Message, MessageDraft, RejoinClient } from './client.js';
import { RejoinError, hasCode } from './errors.js';

/** The type of the event that names a message's producer. The stores' readers skip it. */
export const CLAIM = 'claim';

/** How long a reader waits for a message that existed a moment ago before it checks that it still does, in milliseconds. */
export const GONE_WAIT_MS = 250;

/** How many elections to hold if the message is removed in the middle of one. */
const ELECTIONS = 5;

/** The user who owns a stream's message, or a function that returns them. */
export type UserIdOption = string | ((streamId: string) => string | Promise<string>);

/** The default owner. */
const USER_ID = 'rejoin-stores';

/** Resolves the owner of a stream's message. */
export async function ownerOf(userId: UserIdOption | undefined, streamId: string): Promise<string> {
  if (userId === undefined) return USER_ID;
  return typeof userId === 'string' ? userId : userId(streamId);
}

/** The first event of a message: it names the elected producer. */
export function claimOf(token: string): MessageDraft & { sequenceNo: number } {
  return { type: CLAIM, payload: { token }, sequenceNo: 0 };
}

/**
 * Elects the producer of a message: the one that appends event 0. Returns whether this caller was elected, and the message
 * as it was before.
 *
 * The status of the `PUT` cannot decide it: if the answer "created" is lost, the retry finds the message open, and the
 * message would have no producer.
 *
 * @param looksFirst whether to check for the message before opening it. Opening a message that exists counts as a sign of
 * life of its producer, which a consumer must not give.
 */
export async function claim(
  client: RejoinClient,
  id: string,
  userId: string,
  token: string,
  looksFirst: boolean,
): Promise<{ isProducer: boolean; message: Message }> {
  for (let election = 1; ; election++) {
    const there = looksFirst ? await client.view(id) : null;
    if (there && hasProducer(there)) return { isProducer: false, message: there };
    const message = await client.open(id, { userId });
    if (hasProducer(message)) return { isProducer: false, message };
    try {
      await client.append(id, [claimOf(token)], { epoch: message.epoch });
      return { isProducer: true, message };
    } catch (error) {
      if (hasCode(error, 'sequence_conflict', 'message_complete', 'producer_fenced')) return { isProducer: false, message };
      // The message was removed in between: elect a producer for a new one.
      if (!hasCode(error, 'message_not_found') || election === ELECTIONS) throw error;
    }
  }
}

function hasProducer(message: Message): boolean {
  return message.lastSequenceNo !== null;
}

/** Makes a token that identifies a producer. */
export function newToken(): string {
  return crypto.randomUUID();
}

/** The error for a message that the store did not write. */
export function unexpected(id: string, what: string): RejoinError {
  return new RejoinError(`message ${id}: ${what}`, { code: 'unexpected_event' });
}
