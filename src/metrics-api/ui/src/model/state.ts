import type { Kpis, Message, Order, Pipeline, Series, Top } from "./messages.ts";

/** A part of the page with the server's time at which it was true, in milliseconds since 1970. */
export interface Stamped<T> {
  data: T;
  at: number;
}

export interface Refusal {
  status: number;
  message: string;
}

/** Everything that the page shows, as far as it was told. */
export interface State {
  /** When the last message came, by the server's clock; null before the first. */
  heardAt: number | null;
  /** The numbers for the present filters have not come yet: those shown belong to other ones. */
  isChanging: boolean;
  /** The same of the orders, which come in a message of their own. */
  areOrdersOld: boolean;
  refusal: Refusal | null;
  kpis: Stamped<Kpis> | null;
  series: Stamped<Series> | null;
  top: Stamped<Top> | null;
  pipeline: Stamped<Pipeline> | null;
  /** Newest first. */
  orders: Order[];
  /** How many orders came since the page was opened, beyond those it began with. */
  arrived: number;
}

export const MAX_ORDERS = 60;

export const NOTHING: State = {
  heardAt: null,
  isChanging: true,
  areOrdersOld: true,
  refusal: null,
  kpis: null,
  series: null,
  top: null,
  pipeline: null,
  orders: [],
  arrived: 0,
};

/** The state after a message that came at `now`, by the server's clock. */
export function reduce(state: State, message: Message, now: number): State {
  const heard: State = { ...state, heardAt: now, refusal: null };
  switch (message.type) {
    case "kpis":
      return { ...heard, isChanging: false, kpis: { data: message.data, at: now } };
    case "series":
      return { ...heard, series: { data: message.data, at: now } };
    case "top":
      return { ...heard, top: { data: message.data, at: now } };
    case "pipeline":
      return {
        ...heard,
        pipeline: { data: message.data, at: Date.parse(message.data.server_time) },
      };
    case "orders": {
      if (state.areOrdersOld) {
        return { ...heard, areOrdersOld: false, orders: merge([], message.data.rows) };
      }
      const fresh = countNew(state.orders, message.data.rows);
      return {
        ...heard,
        orders: merge(state.orders, message.data.rows),
        arrived: state.arrived + fresh,
      };
    }
    default:
      return heard;
  }
}

/** The state when other filters were chosen: all stays in sight until their numbers come. */
export function change(state: State): State {
  return { ...state, isChanging: true, areOrdersOld: true, refusal: null };
}

function merge(known: Order[], rows: Order[]): Order[] {
  const byId = new Map(known.map((order) => [order.order_id, order]));
  for (const row of rows) byId.set(row.order_id, row);
  return [...byId.values()]
    .sort((a, b) => compare(b.order_ts, a.order_ts) || compare(b.order_id, a.order_id))
    .slice(0, MAX_ORDERS);
}

function countNew(known: Order[], rows: Order[]): number {
  const ids = new Set(known.map((order) => order.order_id));
  return rows.filter((row) => !ids.has(row.order_id)).length;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
