import { useShown } from "../live/use_live.ts";
import { absoluteTrend, formatCount, formatScore } from "../model/format.ts";
import { figuresAge } from "../model/freshness.ts";
import type { Figures } from "../model/messages.ts";
import { Panel } from "./panel.tsx";

/** What guests say: stars, and whether they would recommend. */
export function SatisfactionPanel() {
  const { state } = useShown();
  const now = state.kpis?.data.current ?? null;
  const before = state.kpis?.data.before ?? null;
  const rating = numberOf(now?.rating);
  const nps = now?.nps ?? null;
  return (
    <Panel title="Satisfaction" area="satisfaction" age={figuresAge}>
      <dl className="scales">
        <div>
          <dt>Rating, of 5</dt>
          <dd className="scale-value">{now?.rating ?? "–"}</dd>
          <dd>
            <Scale from={1} to={5} value={rating} before={numberOf(before?.rating)} />
          </dd>
          <dd className="tile-note">{versus(rating, numberOf(before?.rating), 2, before?.rating)}</dd>
        </div>
        <div>
          <dt>Net promoter score</dt>
          <dd className="scale-value">{formatScore(nps)}</dd>
          <dd>
            <Scale from={-100} to={100} value={nps} before={before?.nps ?? null} />
          </dd>
          <dd className="tile-note">
            {versus(nps, before?.nps ?? null, 1, before?.nps == null ? null : formatScore(before.nps))}
          </dd>
        </div>
        <div>
          <dt>Answers</dt>
          <dd className="scale-value">{formatCount(now?.feedback)}</dd>
          <dd className="tile-note">{answers(now, before)}</dd>
        </div>
      </dl>
    </Panel>
  );
}

/** A value on its scale, with a thin mark where it stood in the window before. */
function Scale({ from, to, value, before }: { from: number; to: number; value: number | null; before: number | null }) {
  const at = (one: number) => `${((one - from) / (to - from)) * 100}%`;
  return (
    <div className="scale" aria-hidden="true">
      {before !== null && <span className="scale-before" style={{ left: at(before) }} />}
      {value !== null && <span className="scale-now" style={{ left: at(value) }} />}
      <small className="scale-from">{from}</small>
      <small className="scale-to">{to}</small>
    </div>
  );
}

function versus(now: number | null, before: number | null, digits: number, shown: string | null | undefined) {
  const trend = absoluteTrend(now, before, digits);
  if (trend === null || shown == null) return "nothing to compare with";
  if (trend.direction === "same") return `as in the window before`;
  return `${trend.direction === "up" ? "▲" : "▼"} ${trend.text} from ${shown} before`;
}

function answers(now: Figures | null, before: Figures | null): string {
  if (now === null || before === null) return "";
  const share = now.orders > 0 ? Math.round((now.feedback / now.orders) * 100) : null;
  const rate = share === null ? "" : `, ${share} per 100 orders`;
  return `${formatCount(before.feedback)} in the window before${rate}`;
}

function numberOf(text: string | null | undefined): number | null {
  return text == null ? null : Number(text);
}
