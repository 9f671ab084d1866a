// Shared by the tests: a private server, a proxy that cuts connections, and waiting for conditions.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** The package's directory. */
export const PACKAGE = fileURLToPath(new URL('../', import.meta.url));

const BINARY = process.env['REJOIN_BIN'] ?? fileURLToPath(new URL('../../target/debug/rejoin', new URL('../', import.meta.url)));

/** A private server on a free port, with its data in memory. */
export class RejoinServer {
  readonly #process: ChildProcess;
  readonly url: string;

  private constructor(process: ChildProcess, url: string) {
    this.#process = process;
    this.url = url;
  }

  /** @param settings as environment variables, without `REJOIN_` */
  static async start(settings: Record<string, string> = {}): Promise<RejoinServer> {
    const variables = Object.entries({ SERVER__LISTEN: '127.0.0.1:0', ...settings }).map(([name, value]) => [
      `REJOIN_${name}`,
      value,
    ]);
    // The shell kills the server when its input ends, also if this process is killed.
    const script = '"$0" serve --memory </dev/null & exec >&- 2>&-; read -r _; kill -9 $!';
    const child = spawn('sh', ['-c', script, BINARY], {
      env: { PATH: process.env['PATH'], ...Object.fromEntries(variables) },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const said: string[] = [];
    createInterface(child.stderr!).on('line', (line) => said.push(line));
    try {
      for await (const line of createInterface(child.stdout!)) {
        said.push(line);
        const url = /http:\/\/\S+?(?=,|\s|$)/.exec(line)?.[0];
        if (line.includes('listens on') && url !== undefined) {
          // Discard the rest of the output.
          child.stdout!.resume();
          return new RejoinServer(child, url);
        }
      }
    } catch (error) {
      said.push(String(error));
    }
    child.stdin!.end();
    throw new Error(`${BINARY} did not start:\n${said.join('\n')}`);
  }

  async stop(): Promise<void> {
    const exited = once(this.#process, 'exit');
    this.#process.stdin!.end();
    await exited;
  }
}

interface Pair {
  client: Socket;
  server: Socket;
  /** The current request. */
  sent: string;
  /** Whether the last request was for a stream. */
  isStream: boolean;
}

/** A TCP proxy in front of a server. */
export class Proxy {
  readonly #server: Server;
  readonly #target: URL;
  readonly #pairs = new Set<Pair>();
  #losesAnswersTo: RegExp | undefined;
  #isDown = false;
  #isStalled = false;
  /** The number of connections so far. */
  connections = 0;
  /** The number of answers that were lost so far. */
  lost = 0;

  private constructor(server: Server, target: URL) {
    this.#server = server;
    this.#target = target;
    server.on('connection', (socket) => this.#take(socket));
  }

  static async start(target: string): Promise<Proxy> {
    const proxy = new Proxy(createServer(), new URL(target));
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The number of open connections that carry a stream. */
  get streams(): number {
    return [...this.#pairs].filter((pair) => pair.isStream).length;
  }

  /** Closes all connections. */
  cut(): void {
    for (const pair of this.#pairs) this.#end(pair);
  }

  /** Closes all connections, and refuses new ones. */
  set isDown(isDown: boolean) {
    this.#isDown = isDown;
    if (isDown) this.cut();
  }

  /** Stops forwarding to clients, without closing connections. */
  set isStalled(isStalled: boolean) {
    this.#isStalled = isStalled;
    for (const { server } of this.#pairs) isStalled ? server.pause() : server.resume();
  }

  /** Forwards the next matching request, and closes its connection instead of answering. */
  loseAnswerTo(request: RegExp): void {
    this.#losesAnswersTo = request;
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.cut();
    await once(this.#server, 'close');
  }

  #take(client: Socket): void {
    this.connections += 1;
    if (this.#isDown) return void client.destroy();
    const server = connect({ host: this.#target.hostname, port: Number(this.#target.port) });
    const pair: Pair = { client, server, sent: '', isStream: false };
    this.#pairs.add(pair);
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', () => this.#end(pair));
      socket.on('close', () => this.#end(pair));
    }
    client.on('data', (data) => {
      if (pair.sent === '') pair.isStream = /^GET \S+\/events /.test(data.toString('latin1'));
      pair.sent += data.toString('latin1');
      server.write(data);
    });
    server.on('data', (data) => {
      if (this.#losesAnswersTo?.test(pair.sent)) {
        this.#losesAnswersTo = undefined;
        this.lost += 1;
        return this.#end(pair);
      }
      pair.sent = '';
      if (!client.write(data)) {
        server.pause();
        client.once('drain', () => this.#isStalled || server.resume());
      }
    });
    if (this.#isStalled) server.pause();
  }

  #end(pair: Pair): void {
    this.#pairs.delete(pair);
    pair.client.destroy();
    pair.server.destroy();
  }
}

/** Waits for a condition. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const latest = Date.now() + 15_000;
  while (!(await holds())) {
    if (Date.now() > latest) throw new Error(`timed out waiting for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

let ids = 0;

/** Returns an id that no other test uses. */
export function freshId(): string {
  ids += 1;
  return `stream-${process.pid}-${ids}`;
}

/** Reads all chunks of a stream. */
export async function piecesOf<T>(stream: ReadableStream<T>): Promise<T[]> {
  const pieces: T[] = [];
  for await (const piece of stream as unknown as AsyncIterable<T>) pieces.push(piece);
  return pieces;
}

/** Creates a stream that the test controls. */
export function source<T>(): {
  stream: ReadableStream<T>;
  push: (chunk: T) => void;
  end: () => void;
  fail: (error: unknown) => void;
  cancelled: Promise<unknown>;
} {
  let controller!: ReadableStreamDefaultController<T>;
  let cancel!: (reason: unknown) => void;
  const cancelled = new Promise<unknown>((resolve) => (cancel = resolve));
  const stream = new ReadableStream<T>({ start: (made) => void (controller = made), cancel });
  return {
    stream,
    push: (chunk) => controller.enqueue(chunk),
    end: () => controller.close(),
    fail: (error) => controller.error(error),
    cancelled,
  };
}
