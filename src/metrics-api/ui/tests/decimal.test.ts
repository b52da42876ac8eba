import assert from "node:assert/strict";
import { test } from "node:test";
import { compareDecimals, formatMoney, toCents } from "../src/model/decimal.ts";

test("money is written with its cents, exactly, however large", () => {
  assert.equal(formatMoney("0"), "$0.00");
  assert.equal(formatMoney("5.5"), "$5.50");
  assert.equal(formatMoney("1234.56"), "$1,234.56");
  assert.equal(formatMoney("-12345.6"), "−$12,345.60");
  // As a number this would end in .08.
  assert.equal(formatMoney("90071992547409.93"), "$90,071,992,547,409.93");
});

test("what is not known, or no decimal, is a dash and never a zero", () => {
  for (const unknown of [null, undefined, "", "NaN", "1e3", "1.", "abc"]) {
    assert.equal(formatMoney(unknown), "–");
  }
});

test("digits beyond the cents are rounded, half away from zero", () => {
  assert.equal(toCents("0.005"), 1n);
  assert.equal(toCents("0.0049"), 0n);
  assert.equal(toCents("-1.005"), -101n);
  assert.equal(formatMoney("19.999"), "$20.00");
});

test("decimals are ordered by value, the unknown first", () => {
  const sorted = ["10.00", "9.99", null, "-1", "9.9"].sort(compareDecimals);
  assert.deepEqual(sorted, [null, "-1", "9.9", "9.99", "10.00"]);
});
