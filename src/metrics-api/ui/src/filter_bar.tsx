import { formatCode, formatWindow } from "./model/format.ts";
import { type Filters, SERVICE_TYPES, WINDOWS } from "./model/filters.ts";
import type { Location } from "./model/messages.ts";

interface Props {
  filters: Filters;
  locations: Location[];
  onChange: (filters: Filters) => void;
}

const ALL = "";
const SEVERAL = "several";

/** What is shown: which window, which stores, which kind of service. */
export function FilterBar({ filters, locations, onChange }: Props) {
  const windows = [...new Set([...WINDOWS, filters.minutes])].sort((a, b) => a - b);
  const services = withChosen(SERVICE_TYPES, filters.serviceType);
  const [first] = filters.locations;
  const chosen = filters.locations.length > 1 ? SEVERAL : (first ?? ALL);
  const isUnknown = chosen !== ALL && chosen !== SEVERAL && !locations.some((one) => one.code === chosen);
  return (
    <search className="filters" aria-label="What is shown">
      <label>
        <span>Window</span>
        <select
          name="minutes"
          value={filters.minutes}
          onChange={(event) => onChange({ ...filters, minutes: Number(event.target.value) })}
        >
          {windows.map((minutes) => (
            <option key={minutes} value={minutes}>
              {formatWindow(minutes)}
            </option>
          ))}
        </select>
      </label>
      <label>
        <span>Store</span>
        <select
          name="location"
          value={chosen}
          onChange={(event) =>
            onChange({ ...filters, locations: event.target.value === ALL ? [] : [event.target.value] })
          }
        >
          <option value={ALL}>All stores</option>
          {chosen === SEVERAL && <option value={SEVERAL}>{filters.locations.length} stores</option>}
          {isUnknown && <option value={chosen}>{chosen}</option>}
          {locations.map((location) => (
            <option key={location.code} value={location.code}>
              {location.name === null ? location.code : `${location.name}, ${location.city}`}
            </option>
          ))}
        </select>
      </label>
      <label>
        <span>Service</span>
        <select
          name="service_type"
          value={filters.serviceType ?? ALL}
          onChange={(event) => onChange({ ...filters, serviceType: event.target.value || null })}
        >
          <option value={ALL}>All kinds</option>
          {services.map((code) => (
            <option key={code} value={code}>
              {formatCode(code)}
            </option>
          ))}
        </select>
      </label>
    </search>
  );
}

function withChosen(codes: string[], chosen: string | null): string[] {
  return chosen === null || codes.includes(chosen) ? codes : [...codes, chosen];
}
