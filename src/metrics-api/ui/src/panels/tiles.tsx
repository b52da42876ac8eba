import type { ReactNode } from "react";
import { useShown } from "../live/use_live.ts";
import { formatMoney } from "../model/decimal.ts";
import {
  type Trend,
  absoluteTrend,
  formatMany,
  formatRate,
  formatSpan,
  formatWindow,
  relativeTrend,
} from "../model/format.ts";
import { figuresAge } from "../model/freshness.ts";
import type { Figures, Pipeline } from "../model/messages.ts";
import { Panel } from "./panel.tsx";

/** The figures one looks at first, each against the window directly before. */
export function Tiles() {
  const { state } = useShown();
  const kpis = state.kpis?.data ?? null;
  const span = kpis ? formatWindow(kpis.window.minutes) : "";
  const title = kpis ? `Last ${span}` : "Key figures";
  const tile = (label: string, value: string, trend: Trend | null, name: string) => (
    <Tile label={label} value={value} name={name} note={<Change trend={trend} span={span} />} />
  );
  const now = kpis?.current ?? null;
  const before = kpis?.before ?? null;
  const relative = (pick: (figures: Figures) => number | null) =>
    now && before ? relativeTrend(pick(now), pick(before)) : null;
  return (
    <Panel title={title} area="tiles" age={figuresAge}>
      <dl className="tiles">
        {tile("Revenue", formatMoney(now?.revenue), relative((one) => Number(one.revenue)), "revenue")}
        {tile(
          "Orders per minute",
          formatRate(now?.orders_per_minute),
          relative((one) => one.orders_per_minute),
          "orders_per_minute",
        )}
        {tile(
          "Mean ticket",
          formatMoney(now?.mean_ticket),
          relative((one) => numberOf(one.mean_ticket)),
          "mean_ticket",
        )}
        {tile(
          "Rating",
          now?.rating ?? "–",
          absoluteTrend(numberOf(now?.rating), numberOf(before?.rating), 2),
          "rating",
        )}
        <Lag pipeline={state.pipeline?.data ?? null} />
      </dl>
    </Panel>
  );
}

function Lag({ pipeline }: { pipeline: Pipeline | null }) {
  const lags = pipeline?.streams.map((one) => one.lag_events) ?? [];
  const known = lags.filter((lag) => lag !== null);
  const isKnown = known.length > 0 && known.length === lags.length;
  const lag = known.reduce((sum, one) => sum + one, 0);
  const ages = pipeline?.streams.flatMap((one) => one.data_age_s ?? []) ?? [];
  const note = ages.length > 0 ? `newest data ${formatSpan(Math.min(...ages))} old` : "no data yet";
  return (
    <Tile
      label="Lag"
      name="lag"
      value={isKnown ? formatMany(lag, "event") : "unknown"}
      note={isKnown || pipeline === null ? note : `${note}; ${pipeline.source.head === null ? "the source does not tell its head" : "no run has read it"}`}
    />
  );
}

interface TileProps {
  label: string;
  name: string;
  value: string;
  note: ReactNode;
}

function Tile({ label, name, value, note }: TileProps) {
  return (
    <div className="tile">
      <dt>{label}</dt>
      <dd className="tile-value" data-figure={name}>
        {value}
      </dd>
      <dd className="tile-note">{note}</dd>
    </div>
  );
}

const ARROWS = { up: "▲", down: "▼", same: "=" };
const WORDS = { up: "up", down: "down", same: "the same" };

function Change({ trend, span }: { trend: Trend | null; span: string }) {
  if (trend === null) return <>nothing to compare with</>;
  return (
    <>
      <span className="arrow" aria-hidden="true">
        {ARROWS[trend.direction]}
      </span>{" "}
      <span className="hidden">{WORDS[trend.direction]}</span> {trend.text} on the {span} before
    </>
  );
}

function numberOf(text: string | null | undefined): number | null {
  return text == null ? null : Number(text);
}
