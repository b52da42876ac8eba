import { useEffect, useState } from "react";
import type { Location } from "../model/messages.ts";
import { RefusedError, requestJson } from "./api.ts";

const AGAIN_MS = 5000;

/** The sites. They hardly ever change: asked once, and again only while the answer does not come. */
export function useLocations(attempt: number): Location[] {
  const [locations, setLocations] = useState<Location[]>([]);
  useEffect(() => {
    const end = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = () => {
      requestJson<{ rows: Location[] }>("locations", end.signal)
        .then(({ rows }) => setLocations(rows))
        .catch((error: unknown) => {
          // A refusal stays one until the viewer does something about it.
          const isRefused = error instanceof RefusedError && error.status < 500;
          if (!end.signal.aborted && !isRefused) timer = setTimeout(ask, AGAIN_MS);
        });
    };
    ask();
    return () => {
      end.abort();
      clearTimeout(timer);
    };
  }, [attempt]);
  return locations;
}
