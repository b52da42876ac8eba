import { type ReactNode, useId } from "react";
import { useNow, useShown } from "../live/use_live.ts";
import { type Age, type Level, courseAge } from "../model/freshness.ts";
import { formatSpan } from "../model/format.ts";
import type { State } from "../model/state.ts";

interface Props {
  title: string;
  /** Where the panel stands in the page's grid. */
  area: string;
  /** How long ago what is shown was true. */
  age?: (state: State, now: number) => Age;
  tools?: ReactNode;
  /** What is shown, where that is not what the page's heading says. */
  note?: string | undefined;
  children: ReactNode;
}

/** One panel of the page with its heading and how old its content is. */
export function Panel({ title, area, age = courseAge, tools, note, children }: Props) {
  const heading = useId();
  const { state } = useShown();
  return (
    <section className={`panel area-${area}`} aria-labelledby={heading} aria-busy={state.isChanging && state.refusal === null}>
      <header className="panel-head">
        <h2 id={heading}>{title}</h2>
        {note && <span className="note">{note}</span>}
        {tools}
        <Freshness of={age} />
      </header>
      {children}
    </section>
  );
}

const WORDS: Record<Level, string> = {
  fresh: "as of",
  late: "late:",
  stale: "old:",
  unknown: "no data yet",
};

function Freshness({ of }: { of: NonNullable<Props["age"]> }) {
  const now = useNow();
  const { state } = useShown();
  const { seconds, level } = of(state, now);
  return (
    <span className="age" data-level={level}>
      {WORDS[level]}
      {seconds !== null && ` ${formatSpan(seconds)}`}
      {level === "fresh" && " ago"}
    </span>
  );
}
