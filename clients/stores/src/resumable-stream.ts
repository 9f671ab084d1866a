/**
 * A replacement for the npm package `resumable-stream`, backed by Rejoin instead of Redis.
 *
 * @packageDocumentation
 */
import { CLAIM, GONE_WAIT_MS, claim, claimOf, newToken, ownerOf, unexpected, type UserIdOption } from './claim.js';
import { clientOf, type MessageEvent, type RejoinClient, type RejoinClientOptions } from './client.js';
import { RejoinError, hasCode } from './errors.js';
import { messageIdOf } from './ids.js';
import { pause } from './time.js';
import { MessageWriter, type ProducerOptions } from './writer.js';

/** Options of {@link createResumableStreamContext}. */
export interface ResumableStreamContextOptions extends ProducerOptions {
  /** A client, or the options to make one. */
  client: RejoinClient | RejoinClientOptions;
  /**
   * Receives a promise that resolves once a stream has been stored to its end, so that a serverless platform keeps the
   * program running until then. Null if that is not needed.
   */
  waitUntil: ((promise: Promise<unknown>) => void) | null;
  /** Prepended to every stream id, followed by a colon. No prefix by default. */
  keyPrefix?: string;
  /**
   * The user who owns a stream's message, and may read it from Rejoin with their own token. The default, `rejoin-stores`,
   * is no real user, so only this context reads it.
   */
  userId?: UserIdOption;
  /** Whether to replay a finished stream instead of returning null. False by default. */
  replayFinished?: boolean;
  /**
   * The size of two buffers in characters, 1,048,576 by default: of text that is not stored yet (when it is full, the source
   * has to wait), and of text that the returned stream's reader has not read yet (when it is full, that reader fetches the
   * text from the server instead).
   */
  bufferLength?: number;
  /** Called when a stop was requested for a stream: end its source. See also {@link StreamMaking.signal}. */
  onStop?: (streamId: string) => void;
  /**
   * Called when a stream cannot be stored any further. The returned stream continues, unless its reader is behind by more
   * than `bufferLength`: it then fails with this error. The stream cannot be resumed past this point.
   */
  onError?: (streamId: string, error: unknown) => void;
}

/** The argument of {@link MakeStream}. */
export interface StreamMaking {
  /** Aborts when a stop is requested. */
  signal: AbortSignal;
}

/** Makes the stream to store. */
export type MakeStream = (making: StreamMaking) => ReadableStream<string>;

/** Stores and resumes streams of text. It has the functions of the context of `resumable-stream`. */
export interface ResumableStreamContext {
  /**
   * Creates a stream, or resumes the one with this id. Of several concurrent calls, also of different processes, one creates it.
   *
   * @param skipCharacters how many UTF-16 code units to skip if the stream is resumed
   * @returns null if the stream is finished, unless `replayFinished` is set
   */
  resumableStream: (streamId: string, makeStream: MakeStream, skipCharacters?: number) => Promise<ReadableStream<string> | null>;
  /**
   * Resumes a stream.
   *
   * @param skipCharacters how many UTF-16 code units to skip
   * @returns null if the stream is finished, unless `replayFinished` is set; undefined if it does not exist
   */
  resumeExistingStream: (streamId: string, skipCharacters?: number) => Promise<ReadableStream<string> | null | undefined>;
  /** Creates a stream, and replaces one with the same id. `skipCharacters` is ignored, as in `resumable-stream`. */
  createNewResumableStream: (
    streamId: string,
    makeStream: MakeStream,
    skipCharacters?: number,
  ) => Promise<ReadableStream<string> | null>;
  /** Returns null if the stream does not exist, `"DONE"` if it is finished, and else true. */
  hasExistingStream: (streamId: string) => Promise<null | true | 'DONE'>;
}

/** The type of events that carry text. */
const CHUNK = 'chunk';
/** Most UTF-16 code units in one event. Each takes at most six bytes, so this stays below the server's default limit of 1 MiB. */
const PIECE_LENGTH = 128 * 1024;
const BUFFER_LENGTH = 1024 * 1024;
/** How long to delay the end of the returned stream until the end is stored, so that a reader then finds it finished. */
const END_WAIT_MS = 5_000;
/** How many attempts to replace a stream to make. */
const REPLACEMENTS = 5;

/**
 * Creates a context.
 *
 * Its functions throw {@link RejoinError}.
 *
 * @throws TypeError for invalid options
 */
export function createResumableStreamContext(options: ResumableStreamContextOptions): ResumableStreamContext {
  const client = clientOf(options.client);
  const waitUntil = options.waitUntil ?? (() => undefined);
  const messageOf = (streamId: string) =>
    messageIdOf(options.keyPrefix === undefined ? streamId : `${options.keyPrefix}:${streamId}`);

  async function produce(streamId: string, id: string, epoch: number, token: string, makeStream: MakeStream) {
    const writer = new MessageWriter({
      ...options,
      client,
      id,
      epoch,
      nextSequenceNo: 1,
      guard: claimOf(token),
      onStop: () => options.onStop?.(streamId),
    });
    const recording = new Recording(client, id, writer, options.bufferLength ?? BUFFER_LENGTH, (error) =>
      options.onError?.(streamId, error),
    );
    let source: ReadableStream<string>;
    try {
      source = makeStream({ signal: writer.stopSignal });
    } catch (error) {
      await recording.fail(error);
      throw error;
    }
    waitUntil(recording.run(source.getReader()));
    return recording.stream;
  }

  async function resume(id: string, isDone: boolean, skipCharacters: number | undefined) {
    if (isDone && !options.replayFinished) return null;
    return stored(client, id, skipCharacters ?? 0);
  }

  return {
    async resumableStream(streamId, makeStream, skipCharacters) {
      const id = await messageOf(streamId);
      const token = newToken();
      const { isProducer, message } = await claim(client, id, await ownerOf(options.userId, streamId), token, true);
      if (isProducer) return produce(streamId, id, message.epoch, token, makeStream);
      return resume(id, message.endedAt !== null, skipCharacters);
    },

    async resumeExistingStream(streamId, skipCharacters) {
      const id = await messageOf(streamId);
      const message = await client.view(id);
      return message === null ? undefined : resume(id, message.endedAt !== null, skipCharacters);
    },

    async createNewResumableStream(streamId, makeStream) {
      const id = await messageOf(streamId);
      const userId = await ownerOf(options.userId, streamId);
      for (let tries = 0; tries < REPLACEMENTS; tries++) {
        const token = newToken();
        const { isProducer, message } = await claim(client, id, userId, token, false);
        if (isProducer) return produce(streamId, id, message.epoch, token, makeStream);
        await client.remove(id);
      }
      throw new RejoinError(`message ${id} is being opened by other producers at the same time`, { code: 'sequence_conflict' });
    },

    async hasExistingStream(streamId) {
      const message = await client.view(await messageOf(streamId));
      if (message === null) return null;
      return message.endedAt === null ? true : 'DONE';
    },
  };
}

/** A piece of text for the returned stream. */
interface Piece {
  text: string;
  /** The number of the event before it, if it is being stored. */
  after: number | undefined;
}

/**
 * Stores a source, and returns its text as a stream at the same time.
 *
 * Text goes to the stream's reader as soon as the source delivers it. If the reader is slow and the buffer fills up, the
 * buffered text is dropped, and the reader continues from the server.
 */
class Recording {
  readonly stream: ReadableStream<string>;
  readonly #client: RejoinClient;
  readonly #id: string;
  readonly #writer: MessageWriter;
  readonly #limit: number;
  readonly #onError: (error: unknown) => void;
  readonly #cancelled = new AbortController();
  #pieces: Piece[] = [];
  #length = 0;
  /** The number after which the reader continues from the server, if the buffer was dropped. */
  #missedAfter: number | undefined;
  #end: 'closed' | { error: unknown } | undefined;
  #changed: (() => void)[] = [];
  #hasReported = false;

  constructor(client: RejoinClient, id: string, writer: MessageWriter, limit: number, onError: (error: unknown) => void) {
    [this.#client, this.#id, this.#writer, this.#limit, this.#onError] = [client, id, writer, limit, onError];
    this.stream = new ReadableStream<string>(
      { pull: (controller) => this.#pull(controller), cancel: () => this.#cancel() },
      { highWaterMark: 0 },
    );
  }

  /** Stores the source to its end. Never rejects. */
  async run(source: ReadableStreamDefaultReader<string>): Promise<void> {
    try {
      for (;;) {
        await this.#writer.room(this.#limit);
        const { done, value } = await source.read();
        if (done) break;
        if (value !== '') await this.#take(value);
      }
    } catch (error) {
      return this.fail(error);
    }
    const stored = this.#storeEnd({ type: 'end' });
    // A reader that reaches the end then finds the stream finished, if the server answers in time.
    const wait = new AbortController();
    await Promise.race([stored, pause(END_WAIT_MS, wait.signal)]);
    wait.abort();
    this.#finish('closed');
    await stored;
  }

  /** The source failed. */
  async fail(error: unknown): Promise<void> {
    this.#finish({ error });
    // The text of the error stays in this process, since it may contain secrets.
    await this.#storeEnd({ type: 'error', payload: { code: 'source_failed', error: 'the source of the stream failed' } });
  }

  async #take(text: string): Promise<void> {
    const after = this.#writer.failure ? undefined : this.#writer.nextSequenceNo - 1;
    for (let from = 0; from < text.length; from += PIECE_LENGTH) {
      this.#writer
        .append({ type: CHUNK, payload: { text: text.slice(from, from + PIECE_LENGTH) } })
        .catch((error) => this.#report(error));
    }
    if (this.#cancelled.signal.aborted || this.#missedAfter !== undefined || this.#end) return;
    this.#pieces.push({ text, after });
    this.#length += text.length;
    this.#wake();
    while (this.#length >= this.#limit && !this.#cancelled.signal.aborted) {
      // Only text that the server has may be dropped.
      if (this.#writer.length > 0) {
        await Promise.race([this.#writer.room(1), this.#change()]);
        continue;
      }
      const [first] = this.#pieces;
      this.#pieces = [];
      this.#length = 0;
      if (this.#writer.failure || first?.after === undefined) this.#finish({ error: this.#writer.failure?.error });
      else this.#missedAfter = first.after;
    }
  }

  async #storeEnd(draft: { type: string; payload?: unknown }): Promise<void> {
    try {
      await this.#writer.append(draft);
    } catch (error) {
      // It was ended by someone else.
      if (!hasCode(error, 'message_complete')) this.#report(error);
    }
    this.#writer.close();
  }

  async #pull(controller: ReadableStreamDefaultController<string>): Promise<void> {
    for (;;) {
      const piece = this.#pieces.shift();
      if (piece) {
        this.#length -= piece.text.length;
        this.#wake();
        return controller.enqueue(piece.text);
      }
      if (this.#missedAfter !== undefined) return this.#pullMissed(controller, this.#missedAfter);
      if (this.#end === 'closed') return controller.close();
      if (this.#end) return controller.error(this.#end.error);
      await this.#change();
      if (this.#cancelled.signal.aborted) return;
    }
  }

  #missed: ReadableStreamDefaultReader<string> | undefined;

  async #pullMissed(controller: ReadableStreamDefaultController<string>, after: number): Promise<void> {
    this.#missed ??= stored(this.#client, this.#id, 0, after).getReader();
    try {
      const { done, value } = await this.#missed.read();
      return done ? controller.close() : controller.enqueue(value);
    } catch (error) {
      // The source's own error has more detail than the stored one.
      controller.error(typeof this.#end === 'object' ? this.#end.error : error);
    }
  }

  async #cancel(): Promise<void> {
    this.#cancelled.abort();
    this.#pieces = [];
    this.#length = 0;
    this.#wake();
    await this.#missed?.cancel();
  }

  #finish(end: 'closed' | { error: unknown }): void {
    this.#end ??= end;
    this.#wake();
  }

  #report(error: unknown): void {
    if (this.#hasReported) return;
    this.#hasReported = true;
    this.#onError(error);
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#changed.push(resolve));
  }

  #wake(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }
}

/** Reads a stream's text from the server, without its first characters. */
function stored(client: RejoinClient, id: string, skipCharacters: number, after?: number): ReadableStream<string> {
  const left = new AbortController();
  const events = client.read(id, { signal: left.signal, cursor: after, openWaitMs: GONE_WAIT_MS });
  let toSkip = Math.max(0, skipCharacters || 0);
  const leave = async () => {
    left.abort();
    await events.return();
  };
  return new ReadableStream<string>({
    async pull(controller) {
      try {
        for (;;) {
          const { done, value } = await events.next();
          if (left.signal.aborted) return;
          const text = done ? undefined : textOf(id, value);
          if (text === undefined) break;
          const rest = text.slice(toSkip);
          toSkip -= text.length - rest.length;
          if (rest !== '') return controller.enqueue(rest);
        }
      } catch (error) {
        await leave();
        throw error;
      }
      controller.close();
      await leave();
    },
    cancel: leave,
  });
}

/** Returns the text of an event. Undefined for the end. */
function textOf(id: string, { type, payload }: MessageEvent): string | undefined {
  if (type === CHUNK && typeof payload['text'] === 'string') return payload['text'];
  if (type === CLAIM) return '';
  if (type === 'end') return undefined;
  if (type === 'error') {
    const message = typeof payload['error'] === 'string' ? payload['error'] : 'the stream failed';
    throw new RejoinError(message, { code: typeof payload['code'] === 'string' ? payload['code'] : 'source_failed' });
  }
  throw unexpected(id, `an event of type ${type} does not belong to a stored stream`);
}
