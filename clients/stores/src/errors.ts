/** The properties of a {@link RejoinError}. */
export interface RejoinErrorDetails {
  /** See {@link RejoinError.code}. */
  code: string;
  /** The HTTP status, if the server answered. */
  status?: number | undefined;
  /** The field of the request's body that is invalid. */
  field?: string | undefined;
  /** The position of the event that was refused, counted from 1. */
  line?: number | undefined;
  /** The number that the producer should continue with. */
  expectedSequenceNo?: number | undefined;
  /** How long to wait before a retry, in milliseconds. */
  retryAfterMs?: number | undefined;
  /** What caused this error. */
  cause?: unknown;
}

/** A call to Rejoin failed: the server refused it or could not be reached. */
export class RejoinError extends Error {
  override readonly name: string = 'RejoinError';

  /**
   * The server's code (`message_not_found`, `sequence_conflict`, `producer_fenced`, ...), or one of these:
   *
   * - `unreachable`: the server could not be reached within `retryForMs`. `cause` is the last failure.
   * - `http_<status>`: an answer without a code, from a proxy for example.
   * - `producer_stale`: the message's producer has been silent for too long. The reader's cursor remains valid.
   * - `message_deleted`: the message was removed while it was being read.
   * - `message_replaced`: the message was removed, and opened again under the same id.
   * - `run_exists`: a new producer found a run that already has events.
   * - `producer_closed`: the producer was closed before the event was appended.
   * - `stop_requested`: the reason of a stop signal.
   * - `unexpected_event`: the message was not written by this store.
   * - `source_failed`: the stored stream had failed.
   */
  readonly code: string;
  /** The HTTP status, if the server answered. */
  readonly status: number | undefined;
  /** The field of the request's body that is invalid. */
  readonly field: string | undefined;
  /** The position of the event that was refused, counted from 1. */
  readonly line: number | undefined;
  /** The number that the producer should continue with. */
  readonly expectedSequenceNo: number | undefined;
  /** How long to wait before a retry, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, details: RejoinErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = details.code;
    this.status = details.status;
    this.field = details.field;
    this.line = details.line;
    this.expectedSequenceNo = details.expectedSequenceNo;
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** Whether this is a {@link RejoinError} with one of these codes. */
export function hasCode(error: unknown, ...codes: string[]): error is RejoinError {
  return error instanceof RejoinError && codes.includes(error.code);
}

/** Statuses after which a retry may succeed. */
const TRANSIENT_STATUSES = [408, 425, 429, 502, 503, 504];

/** Whether a retry of the same call may succeed. */
export function isTransient(error: RejoinError): boolean {
  return error.status === undefined ? error.code === 'unreachable' : TRANSIENT_STATUSES.includes(error.status);
}

/** The error that an answer, or a line of an answer, reports. */
export function refusal(
  status: number,
  body: unknown,
  rest: { line?: number; retryAfterMs?: number | undefined } = {},
): RejoinError {
  const fields = isObject(body) ? body : {};
  const text = (name: string) => (typeof fields[name] === 'string' ? fields[name] : undefined);
  const expected = fields['expected_sequence_no'];
  return new RejoinError(text('message') ?? `the server answered with status ${status}`, {
    code: text('code') ?? `http_${status}`,
    status,
    field: text('field'),
    expectedSequenceNo: typeof expected === 'number' ? expected : undefined,
    ...rest,
  });
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Parses JSON. Undefined if the text is not JSON. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
