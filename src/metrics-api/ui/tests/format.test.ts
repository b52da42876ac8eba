import assert from "node:assert/strict";
import { test } from "node:test";
import {
  absoluteTrend,
  formatCode,
  formatRate,
  formatScore,
  formatShare,
  formatSpan,
  formatWindow,
  relativeTrend,
} from "../src/model/format.ts";

test("a span is told in the unit that fits it", () => {
  const spans: [number, string][] = [
    [0.9, "0 s"],
    [59.9, "59 s"],
    [61, "1 min 1 s"],
    [600, "10 min"],
    [3 * 3600 + 300, "3 h 5 min"],
    [5 * 86400, "5 d"],
  ];
  for (const [seconds, text] of spans) assert.equal(formatSpan(seconds), text);
  assert.equal(formatSpan(null), "–");
});

test("a trend says direction and size, and nothing where nothing can be compared", () => {
  assert.deepEqual(relativeTrend(110, 100), { direction: "up", text: "10.0 %" });
  assert.deepEqual(relativeTrend(75, 100), { direction: "down", text: "25.0 %" });
  assert.equal(relativeTrend(100.01, 100)?.direction, "same");
  assert.equal(relativeTrend(5, 0), null);
  assert.equal(relativeTrend(null, 5), null);
  assert.deepEqual(absoluteTrend(4.31, 4.25, 2), { direction: "up", text: "0.06" });
  assert.equal(absoluteTrend(4.25, 4.25, 2)?.direction, "same");
});

test("codes, shares, rates, scores and windows are for people", () => {
  assert.equal(formatCode("dine_in"), "Dine in");
  assert.equal(formatCode(""), "–");
  assert.equal(formatShare(0.1234), "12.3 %");
  assert.equal(formatRate(12.34), "12.3");
  assert.equal(formatRate(1234.5), "1,235");
  assert.equal(formatScore(-12), "−12.0");
  assert.equal(formatScore(33.3), "+33.3");
  assert.equal(formatWindow(60), "60 min");
  assert.equal(formatWindow(720), "12 h");
});
