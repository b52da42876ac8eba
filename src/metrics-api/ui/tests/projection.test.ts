import assert from "node:assert/strict";
import { test } from "node:test";
import { crowded, fit, placeLabels, spread } from "../src/charts/projection.ts";

const SHEET = { x: 0, y: 0, width: 400, height: 300 };
const TORONTO = { latitude: 43.65, longitude: -79.4 };
const OTTAWA = { latitude: 45.43, longitude: -75.69 };
const KENORA = { latitude: 49.77, longitude: -94.49 };

test("all places lie on the sheet within the margin, north above and east to the right", () => {
  const places = [TORONTO, OTTAWA, KENORA];
  const project = fit(places, SHEET, 20);
  for (const { x, y } of places.map(project)) {
    assert.ok(x >= 19.99 && x <= 380.01 && y >= 19.99 && y <= 280.01, `${x} ${y}`);
  }
  assert.ok(project(KENORA).x < project(TORONTO).x && project(KENORA).y < project(TORONTO).y);
});

test("a single place is in the middle, not at infinity", () => {
  const { x, y } = fit([TORONTO], SHEET, 20)(TORONTO);
  assert.ok(Number.isFinite(x) && Number.isFinite(y));
});

test("near spots are found as crowded", () => {
  const spots = [{ x: 0, y: 0 }, { x: 5, y: 0 }, { x: 100, y: 0 }];
  assert.deepEqual([...crowded(spots, 10)], [0, 1]);
});

test("labels cover neither each other nor a marker, and stay on the sheet", () => {
  const label = { width: 60, height: 14 };
  const markers = [
    { x: 100, y: 100, radius: 8, label },
    { x: 130, y: 100, radius: 8, label },
    { x: 395, y: 290, radius: 4, label },
  ];
  const [first, second, corner] = placeLabels(markers, SHEET);
  assert.equal(first?.anchor, "end");
  assert.equal(second?.anchor, "start");
  assert.equal(corner?.anchor, "end");
  const none = placeLabels([{ x: 5, y: 5, radius: 5, label: { width: 500, height: 14 } }], SHEET);
  assert.deepEqual(none, [null]);
});

test("spots that lie on each other are moved apart, the others stay", () => {
  const alone = { x: 200, y: 20 };
  const moved = spread([{ x: 50, y: 50 }, { x: 50, y: 50 }, { x: 53, y: 51 }, alone], 16);
  moved.forEach((one, index) => {
    for (const other of moved.slice(index + 1)) {
      const distance = Math.hypot(one.x - other.x, one.y - other.y);
      assert.ok(distance >= 16, `${distance}`);
    }
  });
  assert.deepEqual(moved[3], alone);
  assert.ok(moved.slice(0, 3).every(({ x, y }) => Math.hypot(x - 50, y - 50) < 24), "none is far from its place");
});
