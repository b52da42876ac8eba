import assert from "node:assert/strict";
import { test } from "node:test";
import { EventStreamParser } from "../src/live/event_stream.ts";

const TEXT = ': hello\nid: b-1\nevent: kpis\ndata: {"a":\ndata:1}\n\nid: b-2\r\ndata: 2\r\n\r\ndata: torn';

test("any way to cut the text gives the same events, and a torn one is not given", () => {
  const expected = [
    { id: "b-1", data: '{"a":\n1}' },
    { id: "b-2", data: "2" },
  ];
  for (let cut = 1; cut < TEXT.length; cut += 1) {
    const parser = new EventStreamParser();
    assert.deepEqual([...parser.push(TEXT.slice(0, cut)), ...parser.push(TEXT.slice(cut))], expected);
  }
});

test("a comment alone is no event", () => {
  assert.deepEqual(new EventStreamParser().push(": beat\n\n\n"), []);
});
