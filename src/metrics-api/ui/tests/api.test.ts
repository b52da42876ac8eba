import assert from "node:assert/strict";
import { test } from "node:test";
import { RefusedError, keepToken, request } from "../src/live/api.ts";

test("a token that no request can carry is refused, not tried for ever", async () => {
  const kept = new Map<string, string>();
  Object.assign(globalThis, {
    sessionStorage: {
      getItem: (key: string) => kept.get(key) ?? null,
      setItem: (key: string, value: string) => kept.set(key, value),
    },
  });
  try {
    for (const token of ["tök€n", "two words", ""]) {
      keepToken(token);
      await assert.rejects(request("kpis"), (error) => error instanceof RefusedError && error.status === 401);
    }
  } finally {
    Reflect.deleteProperty(globalThis, "sessionStorage");
  }
});
