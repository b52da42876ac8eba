/**
 * What the server tells, version 1. Times are RFC 3339 in UTC, money is an exact decimal in a
 * string, null is "not known".
 */

export type Decimal = string;
export type Instant = string;

export interface Window {
  from: Instant;
  until: Instant;
  minutes: number;
}

export interface Figures {
  orders: number;
  orders_per_minute: number;
  revenue: Decimal;
  mean_ticket: Decimal | null;
  tips: Decimal;
  items: number;
  feedback: number;
  rating: Decimal | null;
  nps: number | null;
}

export interface Kpis {
  window: Window;
  current: Figures;
  before: Figures;
}

export interface Point {
  minute: Instant;
  orders: number;
  revenue: Decimal;
}

export interface Series {
  window: Window;
  points: Point[];
}

/** One line of a ranking; `share` is of the ranking's own metric, from 0 to 1. */
export interface Ranked {
  key: string;
  name: string;
  orders?: number | null;
  revenue?: Decimal | null;
  items?: number | null;
  category?: string | null;
  payments?: number | null;
  amount?: Decimal | null;
  rating?: Decimal | null;
  share: number | null;
}

export interface Top {
  locations: Ranked[];
  items: Ranked[];
  /** The full hour with which `items` begin, before the window does. */
  items_from: Instant;
  payments: Ranked[];
}

export interface Order {
  order_id: string;
  order_ts: Instant;
  location: string;
  city: string | null;
  service_type: string;
  items: number;
  total: Decimal | null;
  payment_method: string | null;
  landed_at: Instant;
}

export type StreamState = "live" | "late" | "stopped" | "never";

export interface StreamHealth {
  stream: string;
  /** 0 where the stream is not read in shards. */
  shard: number;
  writers: number;
  position: number;
  highest: number;
  heard_age_s: number | null;
  data_age_s: number | null;
  lag_events: number | null;
  events_per_second: number | null;
  batches_per_minute: number | null;
  dead_letters_open: number;
  gaps_open: number;
  missed_events: number;
  waiting: number;
  state: StreamState;
}

export interface Run {
  dag_id: string | null;
  run_id: string | null;
  started_at: Instant;
  ended_at: Instant | null;
  events: number;
  rows: number;
  dead_letters: number;
  stop_reason: string | null;
  error: string | null;
  log_url: string | null;
}

export interface Pipeline {
  server_time: Instant;
  /** Whether the server can read what it tells. */
  database: { reachable: boolean; age_s: number | null; error: string | null };
  streams: StreamHealth[];
  runs: Run[];
  source: { head: number | null; reachable: boolean | null };
}

export interface Location {
  code: string;
  /** Null, as all that follows, where a code sold that no location is known for. */
  name: string | null;
  city: string | null;
  latitude: number | null;
  longitude: number | null;
  time_zone: string | null;
}

export interface DeadLetter {
  dead_letter_id: number | string;
  stream: string;
  event_offset: number | null;
  event_type: string | null;
  reason_code: string;
  reason: string;
  created_at: Instant;
  attempts: number;
}

export interface DeadLetters {
  by_reason: { reason_code: string; open: number }[];
  rows: DeadLetter[];
}

export interface Hello {
  server_time: Instant;
  version: string | number;
  interval_ms: number;
}

export type Message =
  | { type: "hello"; data: Hello }
  | { type: "kpis"; data: Kpis }
  | { type: "series"; data: Series }
  | { type: "top"; data: Top }
  | { type: "orders"; data: { rows: Order[] } }
  | { type: "pipeline"; data: Pipeline }
  | { type: "beat"; data: { server_time: Instant } }
  | { type: "bye"; data: { reason: string } };

const TYPES: ReadonlySet<string> = new Set([
  "hello",
  "kpis",
  "series",
  "top",
  "orders",
  "pipeline",
  "beat",
  "bye",
]);

/** Read one message; null for a type or version that this page does not know. */
export function readMessage(text: string): Message | null {
  const message: unknown = JSON.parse(text);
  if (typeof message !== "object" || message === null) return null;
  const { v, type, data } = message as { v?: unknown; type?: unknown; data?: unknown };
  if (v !== 1 || typeof type !== "string" || !TYPES.has(type)) return null;
  if (typeof data !== "object" || data === null) return null;
  return { type, data } as Message;
}
