import assert from "node:assert/strict";
import { test } from "node:test";
import { readFilters, toggleLocation, writeFilters } from "../src/model/filters.ts";

test("an address gives back the filters that made it", () => {
  const filters = { minutes: 180, locations: ["A&B", "LOC-2"], serviceType: "dine_in" };
  assert.deepEqual(readFilters(writeFilters(filters)), filters);
  assert.equal(writeFilters({ minutes: 60, locations: [], serviceType: null }), "");
});

test("locations may stand one by one or with commas", () => {
  assert.deepEqual(readFilters("?location=b,a&location=a&location=").locations, ["a", "b"]);
});

test("a window that is none is the default", () => {
  for (const wrong of ["0", "1441", "-5", "1.5", "ten", ""]) {
    assert.equal(readFilters(`?minutes=${wrong}`).minutes, 60);
  }
  assert.equal(readFilters("?minutes=1440").minutes, 1440);
});

test("a location is chosen and taken back", () => {
  const none = readFilters("");
  const one = toggleLocation(none, "b");
  assert.deepEqual(toggleLocation(one, "a").locations, ["a", "b"]);
  assert.deepEqual(toggleLocation(one, "b"), none);
});
