import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatHour } from "../model/format.ts";
import { colour, onThemeChange } from "./colours.ts";

export interface TimePoint {
  /** Seconds since 1970. */
  at: number;
  value: number;
}

interface Props {
  points: TimePoint[];
  kind: "bars" | "line";
  label: string;
  formatTick: (value: number) => string;
  /** Charts with the same word show the same moment under the pointer. */
  sync: string;
  onPoint: (index: number | null) => void;
}

const HEIGHT = 190;
const FONT = "12px system-ui, sans-serif";

/**
 * Values over time, minute by minute. The last one is of a minute that still goes on: a paler bar, or
 * a dot beside the line, which would otherwise fall at the beginning of every minute.
 */
export function TimeChart({ points, kind, label, formatTick, sync, onPoint }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const callbacks = useRef({ formatTick, onPoint });
  callbacks.current = { formatTick, onPoint };

  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const made = new uPlot(optionsFor(kind, sync, element.clientWidth, callbacks), [[], [], []], element);
    plot.current = made;
    const sizes = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    sizes.observe(element);
    const forgetTheme = onThemeChange(() => made.redraw(false, true));
    return () => {
      sizes.disconnect();
      forgetTheme();
      made.destroy();
      plot.current = null;
    };
  }, [kind, sync]);

  useEffect(() => plot.current?.setData(columns(points)), [points, kind]);

  return <div ref={box} className="time-chart" role="img" aria-label={label} />;
}

/** Times, complete values, and the value of the minute that goes on. */
function columns(points: TimePoint[]): uPlot.AlignedData {
  const last = points.length - 1;
  const complete = points.map((point, index) => (index === last ? null : point.value));
  const going = points.map((point, index) => (index === last ? point.value : null));
  return [points.map((point) => point.at), complete, going];
}

interface Callbacks {
  current: Pick<Props, "formatTick" | "onPoint">;
}

function optionsFor(kind: Props["kind"], sync: string, width: number, callbacks: Callbacks): uPlot.Options {
  const bars = kind === "bars" ? uPlot.paths.bars?.({ size: [0.72, 28, 1] }) : undefined;
  const shape: Partial<uPlot.Series> = {
    points: { show: false },
    ...(bars ? { paths: bars, width: 0 } : { width: 2 }),
  };
  const accent = () => colour("--accent");
  const pale = () => colour("--accent-pale");
  return {
    width,
    height: HEIGHT,
    padding: [8, 18, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: sync }, y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: {
      // Half a minute more on both sides: a bar stands in the middle of its minute.
      x: { range: (_plot, first, last) => [first - 30, last + 30] },
      y: { range: (_plot, _least, most) => [0, most > 0 ? most * 1.08 : 1] },
    },
    axes: [
      {
        stroke: () => colour("--ink-muted"),
        font: FONT,
        size: 26,
        space: 70,
        grid: { show: false },
        ticks: { show: false },
        values: (_plot, splits) => splits.map((at) => formatHour(at * 1000)),
      },
      {
        stroke: () => colour("--ink-muted"),
        font: FONT,
        size: 58,
        space: 40,
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6],
        grid: { stroke: () => colour("--line"), width: 1 },
        ticks: { show: false },
        values: (_plot, splits) => splits.map((value) => callbacks.current.formatTick(value)),
      },
    ],
    series: [
      {},
      { ...shape, stroke: accent, ...(bars ? { fill: accent } : { fill: pale }) },
      { ...shape, stroke: accent, ...(bars ? { fill: pale } : { points: { show: true, size: 6 } }) },
    ],
    hooks: {
      setCursor: [(plot) => callbacks.current.onPoint(plot.cursor.idx ?? null)],
    },
  };
}
