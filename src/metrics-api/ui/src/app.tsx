import { useState } from "react";
import { FilterBar } from "./filter_bar.tsx";
import { keepToken } from "./live/api.ts";
import { LiveProvider, useLive } from "./live/use_live.ts";
import { useLocations } from "./live/use_locations.ts";
import { toggleLocation, writeFilters } from "./model/filters.ts";
import { MenuPanel, PaymentsPanel } from "./panels/mix.tsx";
import { PipelinePanel } from "./panels/pipeline.tsx";
import { SatisfactionPanel } from "./panels/satisfaction.tsx";
import { StoresPanel } from "./panels/stores.tsx";
import { Ticker } from "./panels/ticker.tsx";
import { Tiles } from "./panels/tiles.tsx";
import { TrendPanel } from "./panels/trend.tsx";
import { Notice, StatusBadge } from "./status.tsx";
import { useFilters } from "./use_filters.ts";
import { useTheme } from "./use_theme.ts";

/** The whole page. */
export function App() {
  const [filters, choose] = useFilters();
  const [theme, toggleTheme] = useTheme();
  const [attempt, setAttempt] = useState(0);
  const live = useLive(writeFilters(filters), attempt);
  const locations = useLocations(attempt);
  const retry = () => setAttempt(attempt + 1);
  return (
    <LiveProvider value={live}>
      <a className="skip" href="#main">
        To the numbers
      </a>
      <header className="top">
        <h1>Restaurant live</h1>
        <StatusBadge />
        <FilterBar filters={filters} locations={locations} onChange={choose} />
        <button type="button" className="small theme" aria-pressed={theme === "dark"} onClick={toggleTheme}>
          Dark
        </button>
      </header>
      <main id="main" tabIndex={-1}>
        <Notice
          onRetry={retry}
          onReset={() => choose({ minutes: 60, locations: [], serviceType: null })}
          onToken={(token) => {
            keepToken(token);
            retry();
          }}
        />
        <div className="panels">
          <Tiles />
          <TrendPanel />
          <Ticker locations={locations} />
          <StoresPanel
            locations={locations}
            filters={filters}
            onToggle={(code) => choose(toggleLocation(filters, code))}
          />
          <MenuPanel />
          <PaymentsPanel />
          <SatisfactionPanel />
          <PipelinePanel />
        </div>
      </main>
      <footer className="bottom">
        Times in your time zone. Money as landed, to the cent. <a href="docs">API</a>
      </footer>
    </LiveProvider>
  );
}
