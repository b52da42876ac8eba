import { useMemo, useState } from "react";
import { TimeChart, type TimePoint } from "../charts/time_chart.tsx";
import { useShown } from "../live/use_live.ts";
import { formatMoney, toPixels } from "../model/decimal.ts";
import { formatCount, formatHour } from "../model/format.ts";
import type { Point } from "../model/messages.ts";
import { Panel } from "./panel.tsx";

/** Orders and revenue of each minute, over each other, with the minute under the pointer read out. */
export function TrendPanel() {
  const { state } = useShown();
  const [pointed, setPointed] = useState<number | null>(null);
  const points = useMemo(() => state.series?.data.points ?? [], [state.series]);
  const orders = useMemo(() => drawn(points, (point) => point.orders), [points]);
  const revenue = useMemo(() => drawn(points, (point) => toPixels(point.revenue)), [points]);
  // The last minute goes on; the one before it is the newest that can be compared.
  const shown = points[pointed ?? points.length - 2] ?? points.at(-1);
  const when = shown ? formatHour(shown.minute) : "";
  return (
    <Panel title="Minute by minute" area="trend">
      <figure className="trend">
        <figcaption>
          <span className="trend-name">Orders per minute</span>
          <span className="readout">
            {shown ? formatCount(shown.orders) : "–"} <small>{when}</small>
          </span>
        </figcaption>
        <TimeChart
          points={orders}
          kind="bars"
          sync="minutes"
          label={summary("Orders per minute", points, (point) => formatCount(point.orders))}
          formatTick={formatCount}
          onPoint={setPointed}
        />
      </figure>
      <figure className="trend">
        <figcaption>
          <span className="trend-name">Revenue per minute</span>
          <span className="readout">
            {shown ? formatMoney(shown.revenue) : "–"} <small>{when}</small>
          </span>
        </figcaption>
        <TimeChart
          points={revenue}
          kind="line"
          sync="minutes"
          label={summary("Revenue per minute", points, (point) => formatMoney(point.revenue))}
          formatTick={(value) => `$${formatCount(value)}`}
          onPoint={setPointed}
        />
      </figure>
      <MinuteTable points={points} />
    </Panel>
  );
}

/** The same numbers as a table; drawn only while it is open. */
function MinuteTable({ points }: { points: Point[] }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details className="as-table" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Show as table</summary>
      {isOpen && (
        <div className="scroll" tabIndex={0} role="region" aria-label="Orders and revenue by minute">
          <table>
            <thead>
              <tr>
                <th scope="col">Minute</th>
                <th scope="col" className="number">
                  Orders
                </th>
                <th scope="col" className="number">
                  Revenue
                </th>
              </tr>
            </thead>
            <tbody>
              {[...points].reverse().map((point, index) => (
                <tr key={point.minute}>
                  <th scope="row">
                    {formatHour(point.minute)}
                    {index === 0 && " (goes on)"}
                  </th>
                  <td className="number">{formatCount(point.orders)}</td>
                  <td className="number">{formatMoney(point.revenue)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}

function drawn(points: Point[], valueOf: (point: Point) => number): TimePoint[] {
  return points.map((point) => ({ at: Date.parse(point.minute) / 1000, value: valueOf(point) }));
}

function summary(name: string, points: Point[], text: (point: Point) => string): string {
  const last = points.at(-2);
  if (last === undefined) return `${name}: no data yet`;
  const begin = points[0] ? formatHour(points[0].minute) : "";
  return `${name} from ${begin} to now; ${text(last)} at ${formatHour(last.minute)}. The table below has all minutes.`;
}
