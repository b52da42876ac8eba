import { useShown } from "../live/use_live.ts";
import { formatMoney } from "../model/decimal.ts";
import { formatCode, formatCount, formatHour, formatShare } from "../model/format.ts";
import type { Ranked } from "../model/messages.ts";
import { Bar } from "./bar.tsx";
import { Panel } from "./panel.tsx";

/** What is ordered most. */
export function MenuPanel() {
  const { state } = useShown();
  const from = state.top?.data.items_from;
  return (
    // Dishes are counted by the hour, so that the first one is shown whole.
    <Panel title="Menu" area="menu" note={from && `since ${formatHour(from)}`}>
      <Mix
        rows={state.top?.data.items}
        caption="Dishes, the best-selling first"
        head={["Dish", "Sold", "Revenue"]}
        nameOf={(row) => row.name}
        countOf={(row) => row.items ?? row.orders}
        moneyOf={(row) => row.revenue}
      />
    </Panel>
  );
}

/** How guests pay. */
export function PaymentsPanel() {
  const { state } = useShown();
  return (
    <Panel title="Payments" area="payments">
      <Mix
        rows={state.top?.data.payments}
        caption="Payment methods, the most used first"
        head={["Method", "Payments", "Amount"]}
        nameOf={(row) => formatCode(row.name)}
        countOf={(row) => row.payments ?? row.orders}
        moneyOf={(row) => row.amount ?? row.revenue}
      />
    </Panel>
  );
}

interface MixProps {
  /** Undefined before the first message. */
  rows: Ranked[] | undefined;
  caption: string;
  head: [string, string, string];
  nameOf: (row: Ranked) => string;
  countOf: (row: Ranked) => number | null | undefined;
  moneyOf: (row: Ranked) => string | null | undefined;
}

function Mix({ rows, caption, head, nameOf, countOf, moneyOf }: MixProps) {
  if (rows === undefined) return <p className="empty">Waiting for numbers.</p>;
  if (rows.length === 0) return <p className="empty">Nothing in this window.</p>;
  const most = Math.max(...rows.map((row) => row.share ?? 0));
  return (
    <div className="scroll-x">
      <table className="ranking">
        <caption className="hidden">{caption}</caption>
        <thead>
          <tr>
            <th scope="col">{head[0]}</th>
            <th scope="col" className="number">
              {head[1]}
            </th>
            <th scope="col" className="number">
              {head[2]}
            </th>
            <th scope="col" className="number">
              Share
            </th>
            <th scope="col" className="bar-column">
              <span className="hidden">Drawn</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.key} data-key={row.key}>
              <th scope="row">{nameOf(row)}</th>
              <td className="number">{formatCount(countOf(row))}</td>
              <td className="number">{formatMoney(moneyOf(row))}</td>
              <td className="number">{formatShare(row.share)}</td>
              <td className="bar-column">
                <Bar share={most > 0 ? (row.share ?? 0) / most : 0} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
