import { useCallback, useEffect, useState } from "react";
import { type Filters, readFilters, writeFilters } from "./model/filters.ts";

/** The filters in the address, and how to change them; the browser's buttons lead back and forth. */
export function useFilters(): [Filters, (filters: Filters) => void] {
  const [filters, setFilters] = useState(() => readFilters(location.search));
  useEffect(() => {
    const onMove = () => setFilters(readFilters(location.search));
    addEventListener("popstate", onMove);
    return () => removeEventListener("popstate", onMove);
  }, []);
  const choose = useCallback((chosen: Filters) => {
    history.pushState(null, "", location.pathname + writeFilters(chosen));
    setFilters(chosen);
  }, []);
  return [filters, choose];
}
