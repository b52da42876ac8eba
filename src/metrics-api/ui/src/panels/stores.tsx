import { useMemo, useState } from "react";
import type { Place } from "../charts/projection.ts";
import { useShown } from "../live/use_live.ts";
import { compareDecimals, formatMoney, toPixels } from "../model/decimal.ts";
import { formatCount } from "../model/format.ts";
import type { Filters } from "../model/filters.ts";
import type { Location, Ranked } from "../model/messages.ts";
import { Bar } from "./bar.tsx";
import { Panel } from "./panel.tsx";
import { type Site, StoreMap } from "./store_map.tsx";

type Metric = "revenue" | "orders";

interface Props {
  locations: Location[];
  filters: Filters;
  onToggle: (code: string) => void;
}

/** The stores, ranked and on their map; choosing one filters the whole page. */
export function StoresPanel({ locations, filters, onToggle }: Props) {
  const { state } = useShown();
  const [metric, setMetric] = useState<Metric>("revenue");
  const ranked = state.top?.data.locations;
  const sites = useMemo(
    () => rank(locations, ranked ?? [], filters.locations, metric),
    [locations, ranked, filters.locations, metric],
  );
  const most = Math.max(...sites.map((site) => site.size), 0);
  return (
    <Panel
      title="Stores"
      area="stores"
      tools={<MetricChoice metric={metric} onChange={setMetric} />}
    >
      <div className="stores">
        <StoreMap sites={sites} onToggle={onToggle} />
        <div className="scroll-x">
          <table className="ranking">
            <caption className="hidden">Stores by {metric}; choose one to see only that store</caption>
            <thead>
              <tr>
                <th scope="col" className="number">
                  <span className="hidden">Rank</span>
                </th>
                <th scope="col">Store</th>
                <th scope="col" className="number">
                  Orders
                </th>
                <th scope="col" className="number">
                  Revenue
                </th>
                <th scope="col" className="bar-column">
                  <span className="hidden">Drawn</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {sites.map((site, index) => (
                <tr key={site.code} data-code={site.code} className={site.isShown ? "" : "is-out"}>
                  <td className="number rank">{site.isShown ? index + 1 : ""}</td>
                  <th scope="row">
                    <button
                      type="button"
                      className="link"
                      aria-pressed={site.isChosen}
                      onClick={() => onToggle(site.code)}
                    >
                      {site.name}
                    </button>
                    <small> {site.city}</small>
                  </th>
                  <td className="number">{site.isShown ? formatCount(site.orders) : "–"}</td>
                  <td className="number">{site.isShown ? formatMoney(site.revenue) : "–"}</td>
                  <td className="bar-column">
                    <Bar share={most > 0 ? site.size / most : 0} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </div>
    </Panel>
  );
}

/** Every known site and every one that sold anything, the best first, those filtered out last. */
function rank(locations: Location[], ranked: Ranked[], chosen: string[], metric: Metric): Site[] {
  const byCode = new Map(ranked.map((row) => [row.key, row]));
  const known = new Map(locations.map((location) => [location.code, location]));
  const codes = [...new Set([...known.keys(), ...byCode.keys()])].filter((code) => code !== "");
  const sites = codes.map((code): Site => {
    const row = byCode.get(code);
    const place = known.get(code);
    return {
      code,
      name: place?.name ?? row?.name ?? code,
      city: place?.city ?? "",
      place: placeOf(place),
      orders: row?.orders ?? 0,
      revenue: row?.revenue ?? "0",
      size: metric === "orders" ? (row?.orders ?? 0) : Math.max(toPixels(row?.revenue), 0),
      isChosen: chosen.includes(code),
      isShown: chosen.length === 0 || chosen.includes(code),
    };
  });
  return sites.sort(
    (a, b) =>
      Number(b.isShown) - Number(a.isShown) ||
      (metric === "orders" ? b.orders - a.orders : compareDecimals(b.revenue, a.revenue)) ||
      (a.code < b.code ? -1 : 1),
  );
}

function placeOf(location: Location | undefined): Place | undefined {
  const { latitude = null, longitude = null } = location ?? {};
  return latitude === null || longitude === null ? undefined : { latitude, longitude };
}

function MetricChoice({ metric, onChange }: { metric: Metric; onChange: (metric: Metric) => void }) {
  const choice = (value: Metric, text: string) => (
    <label>
      <input
        type="radio"
        name="store-metric"
        checked={metric === value}
        onChange={() => onChange(value)}
      />
      <span>{text}</span>
    </label>
  );
  return (
    <fieldset className="segmented">
      <legend className="hidden">Stores by</legend>
      {choice("revenue", "Revenue")}
      {choice("orders", "Orders")}
    </fieldset>
  );
}
