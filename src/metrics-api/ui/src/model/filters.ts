/** What the viewer asked to see; it stands in the address, so that it can be kept and sent. */
export interface Filters {
  minutes: number;
  /** Codes of locations; none means all. */
  locations: string[];
  serviceType: string | null;
}

export const WINDOWS = [15, 30, 60, 180, 720, 1440];
export const SERVICE_TYPES = ["dine_in", "takeout", "delivery"];
const DEFAULT_MINUTES = 60;
const LONGEST_MINUTES = 1440;

/** Read the address; whatever it does not say, or says wrongly, is the default. */
export function readFilters(search: string): Filters {
  const query = new URLSearchParams(search);
  const minutes = query.get("minutes") ?? "";
  const isWindow = /^\d{1,4}$/.test(minutes) && +minutes >= 1 && +minutes <= LONGEST_MINUTES;
  const locations = query
    .getAll("location")
    .flatMap((value) => value.split(","))
    .filter((code) => code !== "");
  return {
    minutes: isWindow ? Number(minutes) : DEFAULT_MINUTES,
    locations: [...new Set(locations)].sort(),
    serviceType: query.get("service_type") || null,
  };
}

/** The address for these filters, without what is the default anyway. */
export function writeFilters(filters: Filters): string {
  const query = new URLSearchParams();
  if (filters.minutes !== DEFAULT_MINUTES) query.set("minutes", String(filters.minutes));
  for (const code of filters.locations) query.append("location", code);
  if (filters.serviceType !== null) query.set("service_type", filters.serviceType);
  const text = query.toString();
  return text === "" ? "" : `?${text}`;
}

/** Choose a location, or take it back. */
export function toggleLocation(filters: Filters, code: string): Filters {
  const locations = filters.locations.includes(code)
    ? filters.locations.filter((one) => one !== code)
    : [...filters.locations, code].sort();
  return { ...filters, locations };
}
