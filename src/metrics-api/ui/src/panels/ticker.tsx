import { useEffect, useRef, useState } from "react";
import { useShown } from "../live/use_live.ts";
import { formatMoney } from "../model/decimal.ts";
import { formatCode, formatMany, formatSecond } from "../model/format.ts";
import { figuresAge } from "../model/freshness.ts";
import type { Location, Order } from "../model/messages.ts";
import { Panel } from "./panel.tsx";

const ROWS = 10;
/** Screen readers hear of new orders at most this often. */
const SPEAK_MS = 30_000;

/** The newest orders as they land; it can be held still to read it. */
export function Ticker({ locations }: { locations: Location[] }) {
  const { state } = useShown();
  const [held, setHeld] = useState<Order[] | null>(null);
  const names = new Map(locations.map((location) => [location.code, location.name ?? location.code]));
  const rows = (held ?? state.orders).slice(0, ROWS);
  return (
    <Panel
      title="Live orders"
      area="ticker"
      age={figuresAge}
      tools={
        <button
          type="button"
          className="small"
          aria-pressed={held !== null}
          onClick={() => setHeld(held === null ? state.orders : null)}
        >
          {held === null ? "Hold" : "Go on"}
        </button>
      }
    >
      {rows.length === 0 ? (
        <p className="empty">No orders yet.</p>
      ) : (
        <ol className="ticker">
          {rows.map((order) => (
            <li key={order.order_id} data-order={order.order_id}>
              <time dateTime={order.order_ts}>{formatSecond(order.order_ts)}</time>
              <span className="ticker-store">
                {names.get(order.location) ?? order.location} <small>{order.city}</small>
              </span>
              <span className="ticker-total">{formatMoney(order.total)}</span>
              <span className="ticker-note">{describe(order)}</span>
            </li>
          ))}
        </ol>
      )}
      <Spoken arrived={state.arrived} newest={state.orders[0]} names={names} />
    </Panel>
  );
}

function describe(order: Order): string {
  const items = formatMany(order.items, "item");
  const payment = order.payment_method === null ? "not paid yet" : formatCode(order.payment_method);
  return [formatCode(order.service_type), items, payment].join(" · ");
}

interface SpokenProps {
  arrived: number;
  newest: Order | undefined;
  names: Map<string, string>;
}

/** Says how many orders came, now and then; the list itself would talk without end. */
function Spoken({ arrived, newest, names }: SpokenProps) {
  const [text, setText] = useState("");
  const latest = useRef({ arrived, newest, names });
  latest.current = { arrived, newest, names };
  useEffect(() => {
    let said = latest.current.arrived;
    const timer = setInterval(() => {
      const { arrived: count, newest: order, names: known } = latest.current;
      if (count === said || order === undefined) return;
      const where = known.get(order.location) ?? order.location;
      setText(`${formatMany(count - said, "new order")}, the newest at ${where}`);
      said = count;
    }, SPEAK_MS);
    return () => clearInterval(timer);
  }, []);
  return (
    <p className="hidden" aria-live="polite">
      {text}
    </p>
  );
}
