import { type FormEvent, useEffect } from "react";
import { readToken } from "./live/api.ts";
import { useNow, useShown } from "./live/use_live.ts";
import { type Condition, conditionOf, heardAge, linkAge } from "./model/freshness.ts";
import { formatSpan } from "./model/format.ts";

const TITLE = "Restaurant live";

const BADGES: Record<Condition, { text: string; level: string }> = {
  connecting: { text: "Connecting", level: "unknown" },
  refused: { text: "Refused", level: "stale" },
  disconnected: { text: "No connection", level: "stale" },
  blind: { text: "No database", level: "stale" },
  never: { text: "No data yet", level: "unknown" },
  stopped: { text: "Pipeline stopped", level: "stale" },
  late: { text: "Pipeline late", level: "late" },
  live: { text: "Live", level: "fresh" },
};

/** The one word about the whole page, also in the title of its tab. */
export function StatusBadge() {
  const { state } = useShown();
  const condition = conditionOf(state, useNow());
  const { text, level } = BADGES[condition];
  useEffect(() => {
    document.title = condition === "live" ? TITLE : `${text} · ${TITLE}`;
  }, [condition, text]);
  return (
    <p className="badge status" role="status" data-condition={condition} data-level={level}>
      {text}
    </p>
  );
}

interface Props {
  onRetry: () => void;
  onReset: () => void;
  onToken: (token: string) => void;
}

/** What is wrong with the whole page, in a sentence, and what can be done about it. */
export function Notice({ onRetry, onReset, onToken }: Props) {
  const { state } = useShown();
  const now = useNow();
  switch (conditionOf(state, now)) {
    case "stopped":
      return (
        <p className="notice" data-level="stale">
          The pipeline has stopped: nothing was heard from its source for{" "}
          {formatSpan(heardAge(state.pipeline, now))}. All numbers stand as they were then.
        </p>
      );
    case "disconnected":
      return (
        <p className="notice" data-level="stale">
          No connection to the server for {formatSpan(linkAge(state, now))}; trying again. All numbers stand as
          they were then.
        </p>
      );
    case "blind":
      return (
        <p className="notice" data-level="stale">
          The server cannot read its database: {state.pipeline?.data.database.error ?? "no answer"}. All numbers
          stand as they were read last.
        </p>
      );
    case "never":
      return (
        <p className="notice" data-level="unknown">
          The pipeline has not heard from its source yet. Numbers appear with the first events.
        </p>
      );
    case "refused":
      return state.refusal?.status === 401 ? (
        <TokenForm problem={state.refusal.message} onToken={onToken} />
      ) : (
        <p className="notice" role="alert" data-level="stale">
          The server refuses this: {state.refusal?.message}{" "}
          <button type="button" className="small" onClick={state.refusal?.status === 400 ? onReset : onRetry}>
            {state.refusal?.status === 400 ? "Take the filters back" : "Try again"}
          </button>
        </p>
      );
    default:
      return null;
  }
}

function TokenForm({ problem, onToken }: { problem: string; onToken: (token: string) => void }) {
  const onSubmit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    onToken(String(new FormData(event.currentTarget).get("token") ?? "").trim());
  };
  return (
    <form className="notice" data-level="unknown" onSubmit={onSubmit}>
      <label>
        {readToken() === null ? "This server asks for a token" : "This server does not take that token"}
        {problem === "" ? "" : ` (${problem})`}:{" "}
        <input name="token" type="password" autoComplete="off" required />
      </label>{" "}
      <button type="submit" className="small">
        Show the numbers
      </button>
    </form>
  );
}
