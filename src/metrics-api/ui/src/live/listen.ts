import type { Message } from "../model/messages.ts";
import { readMessage } from "../model/messages.ts";
import { RefusedError, request } from "./api.ts";
import { EventStreamParser } from "./event_stream.ts";

/** The server says something every second; after this long it is asked anew. */
const SILENT_MS = 5000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 4000;

export interface Listener {
  onMessage(message: Message): void;
  /** The server will not answer this, however often it is asked. */
  onRefused(error: RefusedError): void;
}

/**
 * Listen to `/live` until the returned function is called: a lost connection is made again, with
 * growing pauses, and goes on behind the last message.
 */
export function listen(query: string, listener: Listener, silentMs = SILENT_MS): () => void {
  const stop = new AbortController();
  void keepListening(query, listener, silentMs, stop.signal);
  return () => stop.abort();
}

async function keepListening(
  query: string,
  listener: Listener,
  silentMs: number,
  stop: AbortSignal,
): Promise<void> {
  let lastId: string | null = null;
  let pause = FIRST_PAUSE_MS;
  while (!stop.aborted) {
    try {
      for await (const event of connect(query, lastId, silentMs, stop)) {
        lastId = event.id ?? lastId;
        pause = FIRST_PAUSE_MS;
        const message = readMessage(event.data);
        if (message !== null && !stop.aborted) listener.onMessage(message);
      }
    } catch (error) {
      if (stop.aborted) return;
      if (error instanceof RefusedError && [400, 401, 403, 404].includes(error.status)) {
        listener.onRefused(error);
        return;
      }
    }
    await sleep(pause * (0.75 + Math.random() / 2), stop);
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  }
}

async function* connect(query: string, lastId: string | null, silentMs: number, stop: AbortSignal) {
  const end = new AbortController();
  const onStop = () => end.abort();
  stop.addEventListener("abort", onStop);
  let watchdog = setTimeout(() => end.abort(), silentMs);
  try {
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (lastId !== null) headers["last-event-id"] = lastId;
    const response = await request(`live${query}`, { headers, signal: end.signal });
    if (response.body === null) return;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new EventStreamParser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(watchdog);
      watchdog = setTimeout(() => end.abort(), silentMs);
      yield* parser.push(value);
    }
  } finally {
    clearTimeout(watchdog);
    stop.removeEventListener("abort", onStop);
    end.abort();
  }
}

function sleep(milliseconds: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    stop.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
