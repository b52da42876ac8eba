/** Places on a sheet: pixels from the left and the top. */
export interface Spot {
  x: number;
  y: number;
}

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Place {
  latitude: number;
  longitude: number;
}

/**
 * A projection that fits `places` into `box` with `margin` pixels around them, and `side` pixels on
 * either side, where labels stand. Degrees of longitude
 * are shortened as they are in the middle of the region, which is right enough for a province.
 */
export function fit(places: Place[], box: Box, margin: number, side = margin): (place: Place) => Spot {
  const latitudes = places.map((place) => place.latitude);
  const longitudes = places.map((place) => place.longitude);
  const south = Math.min(...latitudes);
  const north = Math.max(...latitudes);
  const west = Math.min(...longitudes);
  const east = Math.max(...longitudes);
  const shortening = Math.cos((((south + north) / 2) * Math.PI) / 180);
  const width = Math.max((east - west) * shortening, 0.01);
  const height = Math.max(north - south, 0.01);
  const scale = Math.min((box.width - 2 * side) / width, (box.height - 2 * margin) / height);
  const left = box.x + (box.width - width * scale) / 2;
  const top = box.y + (box.height - height * scale) / 2;
  return ({ latitude, longitude }) => ({
    x: left + (longitude - west) * shortening * scale,
    y: top + (north - latitude) * scale,
  });
}

/** Those spots that have a neighbour nearer than `distance` pixels, by index. */
export function crowded(spots: Spot[], distance: number): Set<number> {
  const found = new Set<number>();
  spots.forEach((one, index) => {
    const isNear = (other: Spot) => Math.hypot(one.x - other.x, one.y - other.y) < distance;
    if (spots.some((other, at) => at !== index && isNear(other))) found.add(index);
  });
  return found;
}

/** The spots moved apart until each is `least` pixels from every other, so that all can be hit. */
export function spread(spots: Spot[], least: number): Spot[] {
  const moved = spots.map(({ x, y }) => ({ x, y }));
  for (let round = 0; round < 50; round += 1) {
    let isApart = true;
    moved.forEach((one, index) => {
      for (const other of moved.slice(index + 1)) {
        const distance = Math.hypot(other.x - one.x, other.y - one.y);
        if (distance >= least) continue;
        isApart = false;
        const push = (least - distance) / 2 + 0.1;
        const [x, y] = distance > 0 ? [(other.x - one.x) / distance, (other.y - one.y) / distance] : [1, 0];
        one.x -= x * push;
        one.y -= y * push;
        other.x += x * push;
        other.y += y * push;
      }
    });
    if (isApart) break;
  }
  return moved;
}

export interface Marker extends Spot {
  radius: number;
  /** Width and height of its label in pixels. */
  label: { width: number; height: number };
}

export interface Label extends Spot {
  anchor: "start" | "middle" | "end";
}

/**
 * A place for each marker's label beside, above or below it where it covers neither a marker nor
 * another label, null where there is none. Large markers choose first.
 */
export function placeLabels(markers: Marker[], sheet: Box): (Label | null)[] {
  const taken: Box[] = markers.map(({ x, y, radius }) => square(x, y, radius));
  const labels: (Label | null)[] = markers.map(() => null);
  const order = markers.map((_, index) => index);
  order.sort((a, b) => (markers[b]?.radius ?? 0) - (markers[a]?.radius ?? 0));
  for (const index of order) {
    const marker = markers[index];
    if (marker === undefined) continue;
    for (const { label, box } of candidates(marker)) {
      if (!isInside(box, sheet) || taken.some((other) => overlap(box, other))) continue;
      taken.push(box);
      labels[index] = label;
      break;
    }
  }
  return labels;
}

const GAP = 4;

function candidates({ x, y, radius, label }: Marker): { label: Label; box: Box }[] {
  const { width, height } = label;
  const middle = y - height / 2;
  const reach = radius + GAP;
  const places: [Label["anchor"], number, number][] = [
    ["start", x + reach, middle],
    ["end", x - reach, middle],
    ["middle", x, y + reach],
    ["middle", x, y - reach - height],
    ["start", x + radius, y + radius * 0.7],
    ["end", x - radius, y + radius * 0.7],
    ["start", x + radius, y - radius * 0.7 - height],
    ["end", x - radius, y - radius * 0.7 - height],
  ];
  return places.map(([anchor, at, top]) => {
    const left = anchor === "start" ? at : anchor === "end" ? at - width : at - width / 2;
    return { label: { anchor, x: at, y: top + height * 0.78 }, box: { x: left, y: top, width, height } };
  });
}

function square(x: number, y: number, radius: number): Box {
  return { x: x - radius, y: y - radius, width: 2 * radius, height: 2 * radius };
}

function isInside(box: Box, sheet: Box): boolean {
  return (
    box.x >= sheet.x &&
    box.y >= sheet.y &&
    box.x + box.width <= sheet.x + sheet.width &&
    box.y + box.height <= sheet.y + sheet.height
  );
}

function overlap(a: Box, b: Box): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}
