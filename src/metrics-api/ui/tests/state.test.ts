import assert from "node:assert/strict";
import { test } from "node:test";
import { ServerClock } from "../src/live/clock.ts";
import { conditionOf, courseAge, figuresAge, heardAge, levelOf, linkAge } from "../src/model/freshness.ts";
import { type Message, type Order, type Pipeline, readMessage } from "../src/model/messages.ts";
import { MAX_ORDERS, NOTHING, type State, change, reduce } from "../src/model/state.ts";

const T0 = Date.parse("2026-01-01T12:00:00Z");

function order(id: string, at: number, total: string | null = "10.00"): Order {
  return {
    order_id: id,
    order_ts: new Date(T0 + at * 1000).toISOString(),
    location: "LOC-1",
    city: "Toronto",
    service_type: "takeout",
    items: 2,
    total,
    payment_method: total === null ? null : "cash",
    landed_at: new Date(T0 + at * 1000 + 200).toISOString(),
  };
}

function pipeline(heard: (number | null)[], at = 0, reachable = true): Message {
  const streams = heard.map((heard_age_s) => ({ heard_age_s }) as Pipeline["streams"][number]);
  const database = { reachable, age_s: 0, error: null };
  const data = { server_time: new Date(T0 + at * 1000).toISOString(), database, streams, runs: [] };
  return { type: "pipeline", data: { ...data, source: { head: null, reachable: null } } };
}

function after(messages: Message[], state: State = NOTHING, at = 0): State {
  return messages.reduce((one, message) => reduce(one, message, T0 + at * 1000), state);
}

const kpis = { type: "kpis", data: {} } as Message;
const orders = (...rows: Order[]): Message => ({ type: "orders", data: { rows } });

test("an order comes once, the newest on top, and its payment completes it in place", () => {
  const state = after([
    orders(order("a", 1), order("b", 2, null)),
    orders(order("c", 3)),
    orders(order("b", 2, "7.50")),
  ]);
  assert.deepEqual(
    state.orders.map((one) => [one.order_id, one.total]),
    [["c", "10.00"], ["b", "7.50"], ["a", "10.00"]],
  );
  assert.equal(state.arrived, 1, "neither the first list nor the completed order is an arrival");
});

test("the list of orders does not grow without end", () => {
  const many = Array.from({ length: 2 * MAX_ORDERS }, (_, index) => order(`id${index}`, index));
  assert.equal(after([orders(...many)]).orders.length, MAX_ORDERS);
});

test("other filters: what was shown stays until theirs comes, and does not mix with it", () => {
  const before = after([orders(order("a", 1))]);
  const changing = change(before);
  assert.equal(changing.orders.length, 1);
  const state = after([kpis, orders(order("z", 0))], changing);
  assert.deepEqual(state.orders.map((one) => one.order_id), ["z"]);
  assert.equal(state.isChanging, false);
});

test("what is silent is late above three and a half seconds and stale above four", () => {
  assert.deepEqual([0, 3.5, 3.6, 4, 4.1, null].map(levelOf), [
    "fresh", "fresh", "late", "late", "stale", "unknown",
  ]);
});

test("the pipeline's silence ages without a further message, the longest silence counts", () => {
  const state = after([pipeline([0.5, 2])]);
  assert.equal(heardAge(state.pipeline, T0 + 4000), 6);
  assert.equal(conditionOf(reduce(state, { type: "beat", data: { server_time: "" } }, T0 + 4000), T0 + 4000), "stopped");
});

test("a stream that never heard anything is no fresh one", () => {
  const state = after([pipeline([null])]);
  assert.equal(conditionOf(state, T0), "never");
  assert.deepEqual(figuresAge(state, T0), { seconds: null, level: "unknown" });
});

test("a silent server makes everything old, whatever it said last", () => {
  const state = after([pipeline([0]), kpis]);
  assert.equal(conditionOf(state, T0 + 1000), "live");
  assert.equal(conditionOf(state, T0 + 3500), "disconnected");
  assert.deepEqual(figuresAge(state, T0 + 3100), { seconds: 3.1, level: "late" });
  assert.equal(linkAge(state, T0 + 60_000), 60);
  assert.deepEqual(figuresAge(state, T0 + 60_000), { seconds: 60, level: "stale" });
});

test("figures that come no more are old, though server and pipeline go on", () => {
  const state = after([pipeline([0], 10)], after([pipeline([0]), kpis]), 10);
  assert.deepEqual(figuresAge(state, T0 + 10_000), { seconds: 10, level: "stale" });
});

test("a course of a long window may be five seconds old, and says how old it is", () => {
  const course = (minutes: number) =>
    ({ type: "series", data: { window: { minutes }, points: [] } }) as unknown as Message;
  const at = (minutes: number) => after([pipeline([0], 5)], after([course(minutes)]), 5);
  assert.deepEqual(courseAge(at(60), T0 + 5000), { seconds: 5, level: "stale" });
  assert.deepEqual(courseAge(at(1440), T0 + 5000), { seconds: 5, level: "fresh" });
});

test("a server without its database says so, also when that just does not answer", () => {
  assert.equal(conditionOf(after([pipeline([0.2], 0, false)]), T0), "blind");
  const silent = pipeline([4.5]);
  if (silent.type === "pipeline") silent.data.database.age_s = 2.5;
  assert.equal(conditionOf(after([silent]), T0), "blind");
});

test("a server that falls silent says nothing against the pipeline", () => {
  const state = after([pipeline([1.9])]);
  assert.notEqual(conditionOf(state, T0 + 2900), "stopped");
  assert.equal(conditionOf(state, T0 + 3100), "disconnected");
});

test("messages of another version or type are passed over", () => {
  assert.equal(readMessage('{"v":2,"type":"kpis","data":{}}'), null);
  assert.equal(readMessage('{"v":1,"type":"weather","data":{}}'), null);
  assert.equal(readMessage('{"v":1,"type":"kpis"}'), null);
  assert.equal(readMessage('{"v":1,"id":"b-1","type":"beat","data":{"server_time":"x"}}')?.type, "beat");
});

test("the server's clock is found behind a wrong one and late messages", () => {
  let mono = 1_000_000;
  const clock = new ServerClock(() => mono);
  clock.observe(new Date(T0).toISOString());
  assert.equal(clock.now(), T0);
  mono += 1000;
  // Sent at T0 + 1000 but 700 ms on its way: it must not turn the clock back.
  clock.observe(new Date(T0 + 300).toISOString());
  assert.equal(clock.now(), T0 + 1000);
  clock.observe("no time");
  assert.equal(clock.now(), T0 + 1000);
});
