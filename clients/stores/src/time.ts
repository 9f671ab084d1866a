/** Waits. Aborting the signal ends the wait early, without an error. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const over = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', over);
      resolve();
    };
    const timer = setTimeout(over, ms);
    signal?.addEventListener('abort', over, { once: true });
  });
}

/** Starts a timer that does not keep the process alive. Returns a function that cancels it. */
export function background(ms: number, run: () => void): () => void {
  const timer: unknown = setTimeout(run, ms);
  if (typeof timer === 'object' && timer !== null && 'unref' in timer && typeof timer.unref === 'function') timer.unref();
  return () => clearTimeout(timer as ReturnType<typeof setTimeout>);
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;

/** Exponential backoff with jitter, limited by the time without progress. */
export class Patience {
  readonly #forMs: number;
  #since = performance.now();
  #tries = 0;

  constructor(forMs: number) {
    this.#forMs = forMs;
  }

  /** Restarts the time. */
  progress(): void {
    this.#since = performance.now();
    this.#tries = 0;
  }

  /** Returns the pause before the next attempt, at least `atLeastMs`. Undefined if the time is up. */
  next(atLeastMs = 0): number | undefined {
    const leftMs = this.#since + this.#forMs - performance.now();
    if (leftMs <= 0 || atLeastMs > leftMs) return undefined;
    const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#tries);
    this.#tries += 1;
    const jittered = longest * (0.5 + Math.random() / 2);
    return Math.min(leftMs, Math.max(jittered, atLeastMs * (1 + Math.random() / 4)));
  }
}

/** An abort signal that follows another one and, optionally, a time limit. */
export class Link {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #follow = () => this.#controller.abort(this.#outer?.reason);
  #cancelTimer: (() => void) | undefined;
  /** Whether the time limit aborted it. */
  timedOut = false;

  constructor(outer: AbortSignal | undefined, limitMs?: number) {
    this.#outer = outer;
    if (outer?.aborted) this.#follow();
    else outer?.addEventListener('abort', this.#follow, { once: true });
    if (limitMs !== undefined) {
      this.#cancelTimer = background(limitMs, () => {
        this.timedOut = true;
        this.abort();
      });
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason?: unknown): void {
    this.#controller.abort(reason);
  }

  /** Detaches from the outer signal, and cancels the timer. */
  release(): void {
    this.#outer?.removeEventListener('abort', this.#follow);
    this.#cancelTimer?.();
  }
}
