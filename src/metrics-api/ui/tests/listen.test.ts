import assert from "node:assert/strict";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { RefusedError } from "../src/live/api.ts";
import { listen } from "../src/live/listen.ts";
import type { Message } from "../src/model/messages.ts";

const SILENT_MS = 300;

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** Serve `answers` one after the other, the last one for ever, and listen to them. */
async function listening(
  answers: Answer[],
  check: (heard: string[], refused: number[], requests: IncomingMessage[]) => Promise<void>,
): Promise<void> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    answers[Math.min(requests.length, answers.length) - 1]?.(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  Object.assign(globalThis, { document: { baseURI: `http://127.0.0.1:${port}/below/` } });
  const heard: string[] = [];
  const refused: number[] = [];
  const listener = {
    onMessage: (message: Message) => heard.push(message.type),
    onRefused: (error: RefusedError) => refused.push(error.status),
  };
  const stop = listen("?minutes=15", listener, SILENT_MS);
  try {
    await check(heard, refused, requests);
  } finally {
    stop();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

const event = (id: number, type: string) =>
  `id: b-${id}\nevent: ${type}\ndata: ${JSON.stringify({ v: 1, id: `b-${id}`, type, data: {} })}\n\n`;

function stream(...texts: string[]): Answer {
  return (_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const text of texts) response.write(text);
  };
}

function refusal(status: number): Answer {
  return (_request, response) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify({ error: { code: "x", message: "no" } }));
  };
}

async function until(isTrue: () => boolean): Promise<void> {
  const deadline = Date.now() + 5000;
  while (!isTrue()) {
    assert.ok(Date.now() < deadline, "still not so after 5 s");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("a cut connection is made again and goes on behind the last message", async () => {
  const cut: Answer = (request, response) => {
    stream(event(7, "kpis"), "id: b-8\ndata: torn")(request, response);
    setTimeout(() => response.destroy(), 50);
  };
  await listening([cut, stream(event(8, "beat"))], async (heard, refused, requests) => {
    await until(() => heard.length === 2);
    assert.deepEqual(heard, ["kpis", "beat"]);
    assert.deepEqual(requests.map((request) => request.url), Array(2).fill("/below/live?minutes=15"));
    assert.deepEqual(requests.map((request) => request.headers["last-event-id"]), [undefined, "b-7"]);
    assert.deepEqual(refused, []);
  });
});

test("a server that is not ready is asked again, one that refuses is not", async () => {
  await listening([refusal(503), refusal(401)], async (_heard, refused, requests) => {
    await until(() => refused.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 700));
    assert.deepEqual(refused, [401]);
    assert.equal(requests.length, 2);
  });
});

test("a connection that stays open in silence is given up and made anew", async () => {
  await listening([stream(event(1, "hello")), stream(event(2, "beat"))], async (heard) => {
    await until(() => heard.length === 2);
    assert.deepEqual(heard, ["hello", "beat"]);
  });
});
