const COUNT = new Intl.NumberFormat("en");
const ONE = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const TWO = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const SECOND = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const MOMENT = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});

export function formatCount(value: number | null | undefined): string {
  return value == null ? "–" : COUNT.format(value);
}

/** A count with its noun: "1 event", "1,200 events". */
export function formatMany(count: number, noun: string): string {
  return `${COUNT.format(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** A rate: digits behind the point while they tell something. */
export function formatRate(value: number | null | undefined): string {
  if (value == null) return "–";
  if (value > 0 && value < 0.95) return value < 0.01 ? "< 0.01" : TWO.format(value);
  return value < 100 ? ONE.format(value) : COUNT.format(Math.round(value));
}

export function formatShare(share: number | null | undefined): string {
  return share == null ? "–" : `${ONE.format(share * 100)} %`;
}

/** A span of time in the largest unit that says it, two where one would be coarse. */
export function formatSpan(seconds: number | null | undefined): string {
  if (seconds == null) return "–";
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return minutes < 5 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d`;
}

/** Hours and minutes in the viewer's time zone. */
export function formatHour(instant: string | number): string {
  return HOUR.format(new Date(instant));
}

export function formatSecond(instant: string | number): string {
  return SECOND.format(new Date(instant));
}

export function formatMoment(instant: string | number): string {
  return MOMENT.format(new Date(instant));
}

/** A code for people: `dine_in` is "Dine in". */
export function formatCode(code: string | null | undefined): string {
  if (code == null || code === "") return "–";
  const words = code.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A score on a scale with two sides, with its sign. */
export function formatScore(score: number | null): string {
  if (score === null) return "–";
  const text = Math.abs(score).toFixed(1);
  return score < 0 ? `−${text}` : score > 0 ? `+${text}` : text;
}

/** A window for people: "60 min", "24 h". */
export function formatWindow(minutes: number): string {
  return minutes % 60 === 0 && minutes > 60 ? `${minutes / 60} h` : `${minutes} min`;
}

export interface Trend {
  direction: "up" | "down" | "same";
  text: string;
}

/** What changed against the window before, in per cent; null where there is nothing to compare with. */
export function relativeTrend(current: number | null, before: number | null): Trend | null {
  if (current === null || before === null || before === 0) return null;
  const share = (current - before) / Math.abs(before);
  return { direction: directionOf(share, 0.0005), text: `${ONE.format(Math.abs(share) * 100)} %` };
}

/** The same as a difference, for figures that are themselves a scale. */
export function absoluteTrend(current: number | null, before: number | null, digits: number): Trend | null {
  if (current === null || before === null) return null;
  const difference = current - before;
  return {
    direction: directionOf(difference, 0.5 * 10 ** -digits),
    text: Math.abs(difference).toFixed(digits),
  };
}

function directionOf(difference: number, least: number): Trend["direction"] {
  return Math.abs(difference) < least ? "same" : difference > 0 ? "up" : "down";
}
