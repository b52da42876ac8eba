/** The page as a person has it, on a running demo: real browser, real server, real stream. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import { formatMoney } from "../../src/model/decimal.ts";
import { formatCount } from "../../src/model/format.ts";
import { Database, PAGE_URL, Program, Tab, launch } from "./support.ts";

// Longer than the demo has run, so that nothing leaves the window while it is looked at.
const MINUTES = 180;
const SETTLE_MS = 5000;
const FIRST_PAINT_MS = 1000;
const TICKER_MS = 1000;
const WATCH_MS = 6000;
const RED_MS = 5000;

let browser: Browser;
let database: Database;
const generator = new Program("GENERATOR_PID");
const server = new Program("SERVER_PID");

before(async () => {
  browser = await launch();
  database = await Database.connect();
});

after(async () => {
  generator.release();
  server.release();
  await browser?.close();
  await database?.close();
});

test("the page paints within a second, goes live, and asks nobody else for anything", async () => {
  const tab = await Tab.open(browser);
  await tab.condition("live");
  await tab.settled();
  let painted = await firstPaint(tab);
  if (painted >= FIRST_PAINT_MS) {
    // The browser itself has only just started; what counts is the page.
    await tab.page.reload();
    await tab.condition("live");
    painted = await firstPaint(tab);
  }
  assert.ok(painted < FIRST_PAINT_MS, `first paint after ${painted} ms`);
  assert.deepEqual([...tab.origins], [new URL(PAGE_URL).origin]);
  await tab.close();
});

test("a new order is in the ticker within a second of its commit", async () => {
  const tab = await Tab.open(browser);
  await tab.page.locator("[data-order]").first().waitFor();
  // No function in here has a name: what runs the tests would wrap it in one that the page lacks.
  const seen = await tab.page.evaluate((milliseconds) => {
    const known = new Map<string, number>();
    for (const row of document.querySelectorAll<HTMLElement>("[data-order]")) {
      known.set(row.dataset.order ?? "", 0);
    }
    new MutationObserver(() => {
      for (const row of document.querySelectorAll<HTMLElement>("[data-order]")) {
        const id = row.dataset.order ?? "";
        if (!known.has(id)) known.set(id, Date.now());
      }
    }).observe(document.body, { childList: true, subtree: true });
    return new Promise<[string, number][]>((resolve) => {
      setTimeout(() => resolve([...known].filter(([, at]) => at > 0)), milliseconds);
    });
  }, WATCH_MS);
  assert.ok(seen.length > 0, "no order came");
  // When its transaction began: the commit came later, so the true delay is even shorter.
  const landed = await database.rows(
    `select order_id::text, extract(epoch from created_at) * 1000 as landed
     from analytics.orders where order_id = any ($1::uuid[])`,
    [seen.map(([id]) => id)],
  );
  const landedAt = new Map(landed.map((row) => [row.order_id, Number(row.landed)]));
  const delays = seen.map(([id, at]) => at - (landedAt.get(id) ?? Number.NaN)).sort((a, b) => a - b);
  const typical = delays[Math.floor(delays.length / 2)] ?? Number.NaN;
  // A busy machine holds up one or the other.
  const most = delays[Math.floor(delays.length * 0.9)] ?? Number.NaN;
  console.log(`${delays.length} orders in the ticker after ${typical.toFixed(0)} ms (median), ${most.toFixed(0)} ms (nine in ten)`);
  assert.ok(most < TICKER_MS, `one order in ten took ${most} ms or more`);
  await tab.close();
});

test("a stopped source is seen within five seconds; then the numbers are those of SQL; then it goes on", async () => {
  const tab = await Tab.open(browser, `?minutes=${MINUTES}`);
  await tab.condition("live");
  generator.hold();
  try {
    const red = await tab.condition("stopped", RED_MS);
    console.log(`red after ${red.toFixed(0)} ms`);
    const ages = await tab.page.locator(".panel .age[data-level]").evaluateAll((all) =>
      all.map((one) => one.getAttribute("data-level")),
    );
    // The pipeline's own panel is fresh: it tells of the stop.
    assert.equal(ages.filter((level) => level !== "stale").length, 1, ages.join());
    assert.match(await tab.page.locator(".notice").innerText(), /has stopped/);
    await tab.shoot("stopped");
    await tellsTheTruth(tab, "true", []);
    await filters(tab);
  } finally {
    generator.release();
  }
  await tab.condition("live");
  assert.equal(await tab.page.locator(".notice").count(), 0);
  await tab.close();
});

function firstPaint(tab: Tab): Promise<number> {
  return tab.page.evaluate(
    () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Number.NaN,
  );
}

/** The same as `sameAsSql`, once what was on its way when the source stopped has arrived. */
async function tellsTheTruth(tab: Tab, where: string, values: unknown[]): Promise<void> {
  await tab.settled();
  const deadline = Date.now() + SETTLE_MS;
  for (;;) {
    try {
      return await sameAsSql(tab, where, values);
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await tab.page.waitForTimeout(200);
    }
  }
}

/** Every number on the page against what SQL says of the facts themselves, not of the roll-ups. */
async function sameAsSql(tab: Tab, where: string, values: unknown[]): Promise<void> {
  const facts = await database.one(
    `select count(*)::text as orders, coalesce(sum(total), 0)::text as revenue,
            round(sum(total) / nullif(count(total), 0), 2)::text as ticket
     from analytics.orders o where order_ts > now() - interval '${MINUTES} minutes' and ${where}`,
    values,
  );
  assert.equal(await tab.figure("revenue"), formatMoney(facts.revenue));
  assert.equal(await tab.figure("mean_ticket"), formatMoney(facts.ticket));
  const rating = await database.one(
    `select round(avg(rating), 2)::text as rating from analytics.feedback f
     join analytics.orders o using (order_id)
     where created_ts > now() - interval '${MINUTES} minutes' and ${where}`,
    values,
  );
  assert.equal(await tab.figure("rating"), rating.rating ?? "–");
  const stores = await database.rows(
    `select location_code as code, count(*)::text as orders, coalesce(sum(total), 0)::text as revenue
     from analytics.orders o where order_ts > now() - interval '${MINUTES} minutes' and ${where} group by 1`,
    values,
  );
  for (const store of stores) {
    const cells = tab.page.locator(`tr[data-code="${store.code}"] td.number`);
    assert.equal(await cells.nth(1).innerText(), formatCount(Number(store.orders)));
    assert.equal(await cells.nth(2).innerText(), formatMoney(store.revenue));
  }
  const payments = await database.rows(
    `select method, count(*)::text as payments, sum(amount)::text as amount
     from analytics.payments p join analytics.orders o using (order_id)
     where processed_at > now() - interval '${MINUTES} minutes' and ${where} group by 1`,
    values,
  );
  assert.equal(await tab.page.locator(".area-payments tbody tr").count(), payments.length);
  for (const payment of payments) {
    const cells = tab.page.locator(`.area-payments tr[data-key="${payment.method}"] td.number`);
    assert.equal(await cells.nth(0).innerText(), formatCount(Number(payment.payments)));
    assert.equal(await cells.nth(1).innerText(), formatMoney(payment.amount));
  }
}

/** Filters change the numbers and the address, from the list, the map and the history. */
async function filters(tab: Tab): Promise<void> {
  const { page } = tab;
  const [store] = await database.rows(
    "select location_code as code from analytics.orders group by 1 order by count(*) desc limit 1",
  );
  const code = store?.code ?? "";
  await page.locator('select[name="location"]').selectOption(code);
  assert.equal(new URL(page.url()).searchParams.get("location"), code);
  await tellsTheTruth(tab, "location_code = $1", [code]);

  await page.goBack();
  assert.equal(new URL(page.url()).searchParams.get("location"), null);
  await tellsTheTruth(tab, "true", []);

  const marker = page.locator(`.marker[data-code="${code}"]`);
  await marker.focus();
  await page.keyboard.press("Enter");
  assert.equal(new URL(page.url()).searchParams.get("location"), code);
  assert.equal(await marker.getAttribute("aria-pressed"), "true");
  await page.keyboard.press("Enter");
  assert.equal(new URL(page.url()).searchParams.get("location"), null);

  await page.locator('select[name="service_type"]').selectOption("delivery");
  await page.reload();
  assert.equal(await page.locator('select[name="service_type"]').inputValue(), "delivery");
  await tab.condition("stopped");
  await tellsTheTruth(tab, "service_type = $1", ["delivery"]);
}

test("a filter that the server does not know is named, and can be taken back", async () => {
  const tab = await Tab.open(browser, "?service_type=catering");
  await tab.condition("refused");
  assert.match(await tab.page.locator(".notice").innerText(), /service_type/);
  await tab.page.getByRole("button", { name: "Take the filters back" }).click();
  await tab.condition("live");
  // Chromium itself writes every refused request into the console.
  tab.errors.splice(0);
  await tab.close();
});

test("a server that asks for a token gets the one that the viewer gives", async () => {
  const tab = await Tab.open(browser, "", {}, (page) =>
    page.route(/\/live/, (route) => {
      if (route.request().headers().authorization === "Bearer sesame") return route.continue();
      const body = JSON.stringify({ error: { code: "unauthorized", parameter: null, message: "give one" } });
      return route.fulfill({ status: 401, contentType: "application/json", body });
    }),
  );
  await tab.condition("refused");
  await tab.page.locator('input[name="token"]').fill("sesame");
  await tab.page.keyboard.press("Enter");
  await tab.condition("live");
  // Chromium itself writes every refused request into the console.
  tab.errors.splice(0);
  await tab.close();
});

test("a server that falls silent is no connection, and is found again", async () => {
  const tab = await Tab.open(browser);
  await tab.condition("live");
  server.hold();
  try {
    await tab.condition("disconnected", RED_MS);
    const age = await tab.page.locator(".area-tiles .age").getAttribute("data-level");
    assert.notEqual(age, "fresh");
  } finally {
    server.release();
  }
  await tab.condition("live");
  await tab.close();
});

test("dead letters are counted, and can be looked into with the keyboard alone", async () => {
  const reason = "field total is missing; written by a test";
  await database.rows(
    `insert into sse_stream.dead_letters (stream, event_type, reason_code, reason, raw)
     values ('restaurant', 'payment_processed', 'missing_field', $1, '\\x7b7d')`,
    [reason],
  );
  const tab = await Tab.open(browser);
  try {
    const button = tab.page.getByRole("button", { name: /show why/ });
    await button.focus();
    await tab.page.keyboard.press("Enter");
    await tab.page.getByRole("rowheader", { name: reason }).waitFor();
    assert.deepEqual(await tab.obstacles(), []);
    await tab.shoot("dead-letters");
    await tab.page.keyboard.press("Escape");
    await tab.page.getByRole("dialog").waitFor({ state: "detached" });
  } finally {
    await database.rows("delete from sse_stream.dead_letters where reason = $1", [reason]);
  }
  await tab.close();
});

for (const colorScheme of ["light", "dark"] as const) {
  test(`nothing stands in anybody's way in the ${colorScheme} theme`, async () => {
    const tab = await Tab.open(browser, "", { colorScheme });
    await tab.condition("live");
    await tab.settled();
    await tab.page.locator(".as-table summary").click();
    assert.deepEqual(await tab.obstacles(), []);
    await tab.page.locator(".as-table summary").click();
    await tab.shoot(colorScheme);
    await tab.close();
  });
}

test("the chosen theme is kept", async () => {
  const tab = await Tab.open(browser);
  const ground = () => tab.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await tab.page.getByRole("button", { name: "Dark" }).click();
  const dark = await ground();
  assert.notEqual(dark, light);
  await tab.page.reload();
  assert.equal(await ground(), dark);
  await tab.close();
});

test("on a phone everything is there without sideways scrolling", async () => {
  const tab = await Tab.open(browser, "", { viewport: { width: 360, height: 780 } });
  await tab.condition("live");
  await tab.settled();
  const width = await tab.page.evaluate(() => document.documentElement.scrollWidth);
  assert.equal(width, 360);
  assert.deepEqual(await tab.obstacles(), []);
  await tab.shoot("phone");
  await tab.close();
});
