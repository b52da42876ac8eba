/** Exact decimals as the server sends them: text. Nothing here passes through a binary fraction. */

import type { Decimal } from "./messages.ts";

const SHAPE = /^(-?)(\d+)(?:\.(\d+))?$/;

/** The decimal in units of its second digit behind the point, rounded half away from zero. */
export function toCents(text: Decimal): bigint | null {
  const found = SHAPE.exec(text);
  if (found === null) return null;
  const [, sign, whole = "0", fraction = ""] = found;
  const cents = BigInt(whole + fraction.padEnd(2, "0").slice(0, 2));
  const rounded = cents + ((fraction[2] ?? "0") >= "5" ? 1n : 0n);
  return sign === "-" ? -rounded : rounded;
}

/** Money for people, `$1,234.50`; a dash where it is not known. */
export function formatMoney(text: Decimal | null | undefined): string {
  const cents = text == null ? null : toCents(text);
  if (cents === null) return "–";
  const digits = (cents < 0n ? -cents : cents).toString().padStart(3, "0");
  const whole = digits.slice(0, -2).replace(/\B(?=(\d{3})+$)/g, ",");
  return `${cents < 0n ? "−" : ""}$${whole}.${digits.slice(-2)}`;
}

/** Order two decimals; what is not known comes first. */
export function compareDecimals(a: Decimal | null | undefined, b: Decimal | null | undefined): number {
  const left = a == null ? null : toCents(a);
  const right = b == null ? null : toCents(b);
  if (left === right) return 0;
  if (left === null) return -1;
  if (right === null) return 1;
  return left < right ? -1 : 1;
}

/** A decimal for drawing, where a pixel is coarser than any rounding; never for adding up. */
export function toPixels(text: Decimal | null | undefined): number {
  return text == null ? 0 : Number(text);
}
