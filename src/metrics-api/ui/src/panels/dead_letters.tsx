import { useEffect, useRef, useState } from "react";
import { RefusedError, requestJson } from "../live/api.ts";
import { formatCode, formatCount, formatMoment } from "../model/format.ts";
import type { DeadLetters } from "../model/messages.ts";

const LIMIT = 50;

interface Props {
  /** How many are open now: when it changes, they are asked for again. */
  open: number;
  onClose: () => void;
}

/** Why events did not land: how many for each reason, and the newest of them. */
export function DeadLetterDialog({ open, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [reason, setReason] = useState<string | null>(null);
  const { letters, problem } = useDeadLetters(reason, open);

  useEffect(() => dialog.current?.showModal(), []);

  return (
    <dialog ref={dialog} className="drill" aria-labelledby="dead-letters-title" onClose={onClose}>
      <header className="panel-head">
        <h2 id="dead-letters-title">Dead letters</h2>
        <button type="button" className="small" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </header>
      {problem !== null && (
        <p className="note" role="alert" data-level="stale">
          {problem}
        </p>
      )}
      {letters === null && problem === null && <p className="empty">Waiting for the list.</p>}
      {letters !== null && (
        <>
          <fieldset className="segmented wraps">
            <legend className="hidden">Reason</legend>
            <Choice text="All" isChosen={reason === null} onChoose={() => setReason(null)} />
            {letters.by_reason.map((one) => (
              <Choice
                key={one.reason_code}
                text={`${formatCode(one.reason_code)} ${formatCount(one.open)}`}
                isChosen={reason === one.reason_code}
                onChoose={() => setReason(one.reason_code)}
              />
            ))}
          </fieldset>
          <Rows letters={letters} />
          <Rest letters={letters} reason={reason} />
        </>
      )}
    </dialog>
  );
}

function Choice({ text, isChosen, onChoose }: { text: string; isChosen: boolean; onChoose: () => void }) {
  return (
    <label>
      <input type="radio" name="reason" checked={isChosen} onChange={onChoose} />
      <span>{text}</span>
    </label>
  );
}

function Rows({ letters }: { letters: DeadLetters }) {
  if (letters.rows.length === 0) return <p className="empty">None is open.</p>;
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label="Newest dead letters">
      <table>
        <thead>
          <tr>
            <th scope="col" className="number">
              No.
            </th>
            <th scope="col">Since</th>
            <th scope="col" className="number">
              Offset
            </th>
            <th scope="col">Event</th>
            <th scope="col">Why</th>
            <th scope="col" className="number">
              Tries
            </th>
          </tr>
        </thead>
        <tbody>
          {letters.rows.map((row) => (
            <tr key={row.dead_letter_id}>
              <td className="number">{row.dead_letter_id}</td>
              <td>{formatMoment(row.created_at)}</td>
              <td className="number">{formatCount(row.event_offset)}</td>
              <td>{row.event_type ?? "–"}</td>
              <th scope="row" className="why">
                {row.reason}
              </th>
              <td className="number">{formatCount(row.attempts)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** How many are not in the list, and where all is told of one. */
function Rest({ letters, reason }: { letters: DeadLetters; reason: string | null }) {
  const asked = letters.by_reason.filter((one) => reason === null || one.reason_code === reason);
  const open = asked.reduce((sum, one) => sum + one.open, 0);
  const shown = letters.rows.length;
  return (
    <p className="note">
      {open > shown && `The newest ${formatCount(shown)} of ${formatCount(open)}. `}
      With its bytes: <code>sse-stream dead-letters show No.</code>
    </p>
  );
}

function useDeadLetters(reason: string | null, open: number) {
  const [letters, setLetters] = useState<DeadLetters | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    const end = new AbortController();
    const query = new URLSearchParams({ limit: String(LIMIT) });
    if (reason !== null) query.set("reason", reason);
    requestJson<DeadLetters>(`dead-letters?${query}`, end.signal)
      .then((found) => {
        setLetters(found);
        setProblem(null);
      })
      .catch((error: unknown) => {
        if (!end.signal.aborted) setProblem(wordsFor(error));
      });
    return () => end.abort();
  }, [reason, open]);
  return { letters, problem };
}

function wordsFor(error: unknown): string {
  if (error instanceof RefusedError && (error.status === 401 || error.status === 403)) {
    return "Your token may not see dead letters: the role operator may.";
  }
  return error instanceof RefusedError ? error.message : "No connection: the list cannot be read now.";
}
