import { type KeyboardEvent, type RefObject, useEffect, useRef, useState } from "react";
import { ONTARIO } from "../charts/ontario.ts";
import { type Box, type Label, type Place, type Spot, crowded, fit, placeLabels } from "../charts/projection.ts";
import { formatMoney } from "../model/decimal.ts";
import { formatCount } from "../model/format.ts";

export interface Site {
  code: string;
  name: string;
  city: string;
  place: Place | undefined;
  orders: number;
  revenue: string;
  /** What its circle shows, as a number to draw. */
  size: number;
  isChosen: boolean;
  isShown: boolean;
}

interface Props {
  sites: Site[];
  onToggle: (code: string) => void;
}

const NARROW = 520;
const CROWDED_PX = 44;
const TEXT_HEIGHT = 14;
const LETTER_WIDTH = 6.4;

/**
 * Where the stores are, each as large as it sells. Those too near to each other for the scale stand
 * once more, with their names, in an enlarged part of the map.
 */
export function StoreMap({ sites, onToggle }: Props) {
  const [box, width] = useWidth();
  const placed = sites.filter((site): site is Located => site.place !== undefined);
  // Drawn in one order whatever the ranking, so that the tab key walks the same way every time.
  placed.sort((a, b) => a.place.longitude - b.place.longitude);
  if (placed.length === 0) return <div ref={box} className="map" />;

  const isNarrow = width < NARROW;
  const sheet: Box = { x: 0, y: 0, width, height: Math.round(Math.min(width * 0.6, 330)) };
  const lens: Box = isNarrow
    ? { x: 0, y: sheet.height + 8, width, height: Math.round(width * 0.66) }
    : { x: width * 0.47, y: 1, width: width * 0.53 - 1, height: sheet.height * 0.56 };
  const height = isNarrow ? lens.y + lens.height : sheet.height;
  const project = fit(placed.map((site) => site.place), sheet, 34);
  const near = crowded(placed.map((site) => project(site.place)), CROWDED_PX);
  const inLens = placed.filter((_, index) => near.has(index));
  const outside = placed.filter((_, index) => !near.has(index));
  const most = Math.max(...placed.map((site) => site.size), 0);
  const magnify = fit(inLens.map((site) => site.place), lens, 44);
  return (
    <div ref={box} className="map">
      <svg width={width} height={height} role="group" aria-label="Map of the stores">
        <clipPath id="map-sheet">
          <rect width={sheet.width} height={sheet.height} />
        </clipPath>
        <path className="land" clipPath="url(#map-sheet)" d={outline(project)} />
        {inLens.length > 0 && (
          <>
            <Frame spots={inLens.map((site) => project(site.place))} />
            <clipPath id="map-lens">
              <rect {...lens} />
            </clipPath>
            <rect className="lens" {...lens} rx={6} />
            <path className="land" clipPath="url(#map-lens)" d={outline(magnify)} />
            <rect className="lens-border" {...lens} rx={6} />
            {inLens.map((site) => (
              <circle key={site.code} className="dot" r={2} {...centre(project(site.place))} />
            ))}
          </>
        )}
        <Markers sites={outside} project={project} sheet={sheet} most={most} onToggle={onToggle} />
        <Markers sites={inLens} project={magnify} sheet={lens} most={most} onToggle={onToggle} />
      </svg>
    </div>
  );
}

type Located = Site & { place: Place };

interface MarkersProps {
  sites: Located[];
  project: (place: Place) => Spot;
  sheet: Box;
  most: number;
  onToggle: (code: string) => void;
}

function Markers({ sites, project, sheet, most, onToggle }: MarkersProps) {
  const markers = sites.map((site) => ({
    ...project(site.place),
    radius: radiusOf(site.size, most),
    label: { width: site.name.length * LETTER_WIDTH, height: TEXT_HEIGHT },
  }));
  const labels = placeLabels(markers, sheet);
  return sites.map((site, index) => {
    const marker = markers[index];
    return (
      marker && (
        <Marker
          key={site.code}
          site={site}
          spot={marker}
          radius={marker.radius}
          label={labels[index] ?? null}
          onToggle={onToggle}
        />
      )
    );
  });
}

interface MarkerProps {
  site: Site;
  spot: Spot;
  radius: number;
  label: Label | null;
  onToggle: (code: string) => void;
}

function Marker({ site, spot, radius, label, onToggle }: MarkerProps) {
  const toggle = () => onToggle(site.code);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    toggle();
  };
  const numbers = site.isShown
    ? `${formatCount(site.orders)} orders, ${formatMoney(site.revenue)}`
    : "not shown";
  const name = `${site.name}, ${site.city}: ${numbers}`;
  return (
    <g
      className={`marker ${site.isShown ? "" : "is-out"}`}
      role="button"
      tabIndex={0}
      aria-pressed={site.isChosen}
      aria-label={name}
      data-code={site.code}
      onClick={toggle}
      onKeyDown={onKeyDown}
    >
      <title>{name}</title>
      <circle className="target" {...centre(spot)} r={Math.max(radius, 12)} />
      <circle className="size" {...centre(spot)} r={radius} />
      {label && (
        <text x={label.x} y={label.y} textAnchor={label.anchor}>
          {site.name}
        </text>
      )}
    </g>
  );
}

/** Where the enlarged part lies on the whole map. */
function Frame({ spots }: { spots: Spot[] }) {
  const pad = 8;
  const xs = spots.map((spot) => spot.x);
  const ys = spots.map((spot) => spot.y);
  const x = Math.min(...xs) - pad;
  const y = Math.min(...ys) - pad;
  const width = Math.max(...xs) + pad - x;
  const height = Math.max(...ys) + pad - y;
  return <rect className="lens-border" x={x} y={y} width={width} height={height} rx={4} />;
}

function outline(project: (place: Place) => Spot): string {
  const spots = ONTARIO.map(project).map(({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`);
  return `M${spots.join("L")}Z`;
}

function centre({ x, y }: Spot): { cx: number; cy: number } {
  return { cx: x, cy: y };
}

/** The area grows with the size, not the width. */
function radiusOf(size: number, most: number): number {
  return 4 + (most > 0 ? 12 * Math.sqrt(size / most) : 0);
}

function useWidth(): [RefObject<HTMLDivElement | null>, number] {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(560);
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const sizes = new ResizeObserver(() => setWidth(Math.max(element.clientWidth, 200)));
    sizes.observe(element);
    return () => sizes.disconnect();
  }, []);
  return [box, width];
}
