import { type KeyboardEvent, type RefObject, useEffect, useRef, useState } from "react";
import { ONTARIO } from "../charts/ontario.ts";
import { type Box, type Label, type Place, type Spot, crowded, fit, placeLabels, spread } from "../charts/projection.ts";
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
const CROWDED_PX = 22;
/** No circle may lie over the middle of another. */
const APART_PX = 16;
/** What can be hit with a finger. */
const TARGET_PX = 12;
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
  const [sheet, lens] = isNarrow ? above(width) : beside(width);
  const height = lens.y + lens.height + 1;
  const project = fit(placed.map((site) => site.place), sheet, 30);
  const near = crowded(placed.map((site) => project(site.place)), CROWDED_PX);
  const inLens = placed.filter((_, index) => near.has(index));
  const outside = placed.filter((_, index) => !near.has(index));
  const most = Math.max(...placed.map((site) => site.size), 0);
  const magnify = fit(inLens.map((site) => site.place), lens, 30, 88);
  return (
    <div ref={box} className="map">
      <svg width={width} height={height} role="group" aria-label="Map of the stores">
        <clipPath id="map-sheet">
          <rect width={sheet.width} height={sheet.height} />
        </clipPath>
        <path className="land" clipPath="url(#map-sheet)" d={outline(project)} />
        {inLens.length > 0 && (
          <>
            <Frame spots={inLens.map((site) => project(site.place))} lens={lens} isNarrow={isNarrow} />
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
  const spots = spread(sites.map((site) => project(site.place)), APART_PX);
  const markers = sites.map((site, index) => ({
    ...(spots[index] ?? project(site.place)),
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
      <circle className="target" {...centre(spot)} r={Math.max(radius, TARGET_PX)} />
      <circle className="ring" {...centre(spot)} r={Math.max(radius, TARGET_PX) + 4} />
      <circle className="size" {...centre(spot)} r={radius} />
      {label && (
        <text x={label.x} y={label.y} textAnchor={label.anchor}>
          {site.name}
        </text>
      )}
    </g>
  );
}

/** The whole map and its enlarged part, one above the other. */
function above(width: number): [Box, Box] {
  const whole = Math.round(width * 0.6);
  const part = Math.round(width * 0.72);
  return [
    { x: 0, y: 0, width, height: whole },
    { x: 1, y: whole + 10, width: width - 2, height: part },
  ];
}

/** The same side by side. */
function beside(width: number): [Box, Box] {
  const whole = Math.round(width * 0.54);
  const height = Math.min(Math.round(width * 0.46), 380);
  return [
    { x: 0, y: 0, width: whole, height },
    { x: whole + 14, y: 1, width: width - whole - 15, height: height - 2 },
  ];
}

/** Where the enlarged part lies on the whole map, and which part of the sheet enlarges it. */
function Frame({ spots, lens, isNarrow }: { spots: Spot[]; lens: Box; isNarrow: boolean }) {
  const pad = 8;
  const xs = spots.map((spot) => spot.x);
  const ys = spots.map((spot) => spot.y);
  const x = Math.min(...xs) - pad;
  const y = Math.min(...ys) - pad;
  const width = Math.max(...xs) + pad - x;
  const height = Math.max(...ys) + pad - y;
  const rays = isNarrow
    ? `M${x} ${y + height}L${lens.x} ${lens.y}M${x + width} ${y + height}L${lens.x + lens.width} ${lens.y}`
    : `M${x + width} ${y}L${lens.x} ${lens.y}M${x + width} ${y + height}L${lens.x} ${lens.y + lens.height}`;
  return (
    <>
      <path className="rays" d={rays} />
      <rect className="lens-border" x={x} y={y} width={width} height={height} rx={4} />
    </>
  );
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
  return 3 + (most > 0 ? 9 * Math.sqrt(size / most) : 0);
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
