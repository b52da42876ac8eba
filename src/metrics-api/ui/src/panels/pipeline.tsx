import { type ReactNode, useState } from "react";
import { useNow, useShown } from "../live/use_live.ts";
import { formatCount, formatMany, formatMoment, formatRate, formatSpan } from "../model/format.ts";
import { type Level, heardAge, levelOf, pipelineAge } from "../model/freshness.ts";
import type { Pipeline, Run, StreamHealth } from "../model/messages.ts";
import type { Stamped } from "../model/state.ts";
import { DeadLetterDialog } from "./dead_letters.tsx";
import { Panel } from "./panel.tsx";

/** How the numbers get here, and whether they still do. */
export function PipelinePanel() {
  const { state } = useShown();
  const [isAsked, setAsked] = useState(false);
  const pipeline = state.pipeline;
  return (
    <Panel title="Pipeline" area="pipeline" age={pipelineAge}>
      {pipeline === null ? (
        <p className="empty">Waiting for numbers.</p>
      ) : (
        <>
          {pipeline.data.streams.length === 0 && <p className="empty">No stream has run yet.</p>}
          {pipeline.data.streams.map((stream) => (
            <Stream
              key={`${stream.stream} ${stream.shard}`}
              stream={stream}
              pipeline={pipeline}
              onDeadLetters={() => setAsked(true)}
            />
          ))}
          <Source pipeline={pipeline.data} />
          <Runs runs={pipeline.data.runs} />
        </>
      )}
      {isAsked && <DeadLetterDialog open={openLetters(pipeline)} onClose={() => setAsked(false)} />}
    </Panel>
  );
}

function openLetters(pipeline: Stamped<Pipeline> | null): number {
  return pipeline?.data.streams.reduce((sum, one) => sum + one.dead_letters_open, 0) ?? 0;
}

const STATES: Record<Level, string> = {
  fresh: "live",
  late: "late",
  stale: "stopped",
  unknown: "never ran",
};

interface StreamProps {
  stream: StreamHealth;
  pipeline: Stamped<Pipeline>;
  onDeadLetters: () => void;
}

function Stream({ stream, pipeline, onDeadLetters }: StreamProps) {
  const now = useNow();
  const heard = heardAge({ ...pipeline, data: { ...pipeline.data, streams: [stream] } }, now);
  const level = levelOf(heard);
  const name = stream.shard === 0 ? stream.stream : `${stream.stream} ${stream.shard}`;
  const grown = Math.max(0, (now - pipeline.at) / 1000);
  const dataAge = stream.data_age_s === null ? null : stream.data_age_s + grown;
  const letters = formatCount(stream.dead_letters_open);
  return (
    <div className="stream">
      <h3>
        {name}{" "}
        <span className="badge" data-level={level}>
          {STATES[level]}
        </span>
      </h3>
      <dl className="facts">
        <Fact label="Heard from the source">{heard === null ? "never" : `${formatSpan(heard)} ago`}</Fact>
        <Fact label="Newest data">{dataAge === null ? "none" : `${formatSpan(dataAge)} old`}</Fact>
        <Fact label="Lag">
          {stream.lag_events === null ? "unknown" : formatMany(stream.lag_events, "event")}
        </Fact>
        <Fact label="Events per second">{formatRate(stream.events_per_second)}</Fact>
        <Fact label="Batches per minute">{formatCount(stream.batches_per_minute)}</Fact>
        <Fact label="Position">{formatCount(stream.position)}</Fact>
        <Fact label="Writers">{formatCount(stream.writers)}</Fact>
        <Fact label="Waiting for a parent">{formatCount(stream.waiting)}</Fact>
        <Fact label="Open gaps" level={stream.gaps_open > 0 ? "late" : undefined}>
          {formatCount(stream.gaps_open)}
          {stream.missed_events > 0 && ` (${formatMany(stream.missed_events, "event")})`}
        </Fact>
        <Fact label="Open dead letters" level={stream.dead_letters_open > 0 ? "late" : undefined}>
          {stream.dead_letters_open > 0 ? (
            <button type="button" className="link" aria-haspopup="dialog" onClick={onDeadLetters}>
              {letters}, show why
            </button>
          ) : (
            letters
          )}
        </Fact>
      </dl>
    </div>
  );
}

interface FactProps {
  label: string;
  level?: Level | undefined;
  children: ReactNode;
}

function Fact({ label, level, children }: FactProps) {
  return (
    <div data-level={level}>
      <dt>{label}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Source({ pipeline }: { pipeline: Pipeline }) {
  const { head, reachable } = pipeline.source;
  if (reachable === null) return null;
  return (
    <p className="note" data-level={reachable ? "fresh" : "stale"}>
      {reachable ? `The source answers; its newest event is ${formatCount(head)}.` : "The source does not answer."}
    </p>
  );
}

function Runs({ runs }: { runs: Run[] }) {
  if (runs.length === 0) return <p className="empty">No runs yet.</p>;
  return (
    <>
      <h3>Last runs</h3>
      <div className="scroll-x" tabIndex={0} role="region" aria-label="Last runs">
        <table className="runs">
          <thead>
            <tr>
              <th scope="col">Run</th>
              <th scope="col">Started</th>
              <th scope="col">Took</th>
              <th scope="col" className="number">
                Events
              </th>
              <th scope="col" className="number">
                Rows
              </th>
              <th scope="col" className="number">
                Dead letters
              </th>
              <th scope="col">Ended by</th>
            </tr>
          </thead>
          <tbody>
            {runs.map((run) => (
              <RunRow key={`${run.run_id} ${run.started_at}`} run={run} />
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function RunRow({ run }: { run: Run }) {
  const now = useNow();
  const name = run.run_id || "by hand";
  const ended = run.ended_at === null ? now : Date.parse(run.ended_at);
  const link = run.log_url && /^https?:\/\//.test(run.log_url) ? run.log_url : null;
  // A run is counted when it ends.
  const count = (value: number) => (run.ended_at === null ? "–" : formatCount(value));
  const took = formatSpan((ended - Date.parse(run.started_at)) / 1000);
  return (
    <tr>
      <th scope="row">
        {link === null ? (
          name
        ) : (
          <a href={link} target="_blank" rel="noreferrer">
            {name}
          </a>
        )}
        {run.dag_id && <small> {run.dag_id}</small>}
      </th>
      <td>{formatMoment(run.started_at)}</td>
      <td>{run.ended_at === null ? `${took} so far` : took}</td>
      <td className="number">{count(run.events)}</td>
      <td className="number">{count(run.rows)}</td>
      <td className="number">{count(run.dead_letters)}</td>
      <td data-level={run.error === null && run.stop_reason !== "lost" ? undefined : "stale"}>
        {run.error ?? run.stop_reason ?? (run.ended_at === null ? "running" : "–")}
      </td>
    </tr>
  );
}
