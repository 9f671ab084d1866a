/**
 * A client of Rejoin's messages, which the stores of this package are built on.
 *
 * @packageDocumentation
 */
export {
  RejoinClient,
  type Appended,
  type CallOptions,
  type Message,
  type MessageDraft,
  type MessageEvent,
  type MessageStatus,
  type ProducerCallOptions,
  type ReadOptions,
  type RejoinClientOptions,
} from './client.js';
export { RejoinError, type RejoinErrorDetails } from './errors.js';
export { isMessageId, messageIdOf } from './ids.js';
export type { UserIdOption } from './claim.js';
export type { ProducerOptions } from './writer.js';
