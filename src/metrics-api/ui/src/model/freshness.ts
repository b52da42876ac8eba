import type { Pipeline } from "./messages.ts";
import type { Stamped, State } from "./state.ts";

/** How far what is shown can be trusted to be what is so. */
export type Level = "fresh" | "late" | "stale" | "unknown";

/**
 * Seconds above which something is called late, and stale. A pipeline without events notes every two
 * that it hears its source, the server looks every one and tells at once: three, and half of one for
 * what all that takes. One that stops is to be seen as stopped within five, drawing included.
 */
export const LATE_S = 3.5;
export const STALE_S = 4;
/** Seconds without a word from the server after which the page speaks of no connection. */
export const SILENT_S = 3;
/** The server speaks every second; silent for longer than this it says nothing of the pipeline. */
const WORD_S = 1.5;
/** Seconds without an answer of the database, asked every one, after which it is called gone. */
const BLIND_S = 2.2;

/** Windows longer than this are drawn and ranked anew only every so many seconds. */
const LONG_WINDOW_MINUTES = 180;
const LONG_WINDOW_S = 5;

export function levelOf(ageS: number | null): Level {
  if (ageS === null) return "unknown";
  return ageS > STALE_S ? "stale" : ageS > LATE_S ? "late" : "fresh";
}

/** Seconds since the server said anything. */
export function linkAge(state: State, now: number): number | null {
  return state.heardAt === null ? null : seconds(now - state.heardAt);
}

/**
 * Seconds since the pipeline last heard from its source, by the stream that has waited longest;
 * null where none ever did. The server's word grows older here without a further message.
 */
export function heardAge(pipeline: Stamped<Pipeline> | null, now: number): number | null {
  if (pipeline === null) return null;
  const ages = pipeline.data.streams.flatMap((one) => one.heard_age_s ?? []);
  return ages.length === 0 ? null : Math.max(...ages) + seconds(now - pipeline.at);
}

/** How old something is, null where it never came, and what to think of that. */
export interface Age {
  seconds: number | null;
  level: Level;
}

/**
 * Age of the key figures, which come every second. They are true up to the last moment at which the
 * server read them and the pipeline had heard from its source: silence of either makes them old.
 */
export function figuresAge(state: State, now: number): Age {
  return ageOf(state, now, state.kpis?.at, 0);
}

/**
 * Age of what is drawn or ranked. It comes more seldom where the window is long, and that alone is
 * nothing to warn of. An unchanged ranking is not sent again, but is looked at with the course.
 */
export function courseAge(state: State, now: number): Age {
  const isLong = (state.series?.data.window.minutes ?? 0) > LONG_WINDOW_MINUTES;
  return ageOf(state, now, state.series?.at, isLong ? LONG_WINDOW_S : 0);
}

/** Age of what the server says of the pipeline, however long that has stood still. */
export function pipelineAge(state: State, now: number): Age {
  const age = state.pipeline === null ? null : seconds(now - state.pipeline.at);
  return { seconds: age, level: levelBehind(state, now, age) };
}

function ageOf(state: State, now: number, at: number | undefined, allowedS: number): Age {
  const heard = heardAge(state.pipeline, now);
  if (heard === null || at === undefined) return { seconds: null, level: "unknown" };
  const read = seconds(now - at);
  const counted = Math.max(heard, linkAge(state, now) ?? 0, read - allowedS);
  return { seconds: Math.max(counted, read), level: levelBehind(state, now, counted) };
}

/** What to think of an age; nothing is fresh while there is no connection. */
function levelBehind(state: State, now: number, ageS: number | null): Level {
  const level = levelOf(ageS);
  return level === "fresh" && (linkAge(state, now) ?? 0) > SILENT_S ? "late" : level;
}

export type Condition =
  | "connecting"
  | "refused"
  | "disconnected"
  | "blind"
  | "never"
  | "stopped"
  | "late"
  | "live";

/** The one word about the whole page. */
export function conditionOf(state: State, now: number): Condition {
  if (state.refusal !== null) return "refused";
  const link = linkAge(state, now);
  if (link === null) return "connecting";
  if (link > SILENT_S) return "disconnected";
  if (state.pipeline === null) return "connecting";
  const { reachable, age_s } = state.pipeline.data.database;
  if (!reachable || (age_s ?? 0) > BLIND_S) return "blind";
  // A server that falls silent, or whose database does, tells nothing against the pipeline.
  switch (levelOf(heardAge(state.pipeline, now - Math.max(0, link - WORD_S) * 1000))) {
    case "unknown":
      return "never";
    case "stale":
      return "stopped";
    case "late":
      return "late";
    case "fresh":
      return "live";
  }
}

function seconds(milliseconds: number): number {
  return Math.max(0, milliseconds / 1000);
}
