// The two plots of a graph, drawn by uPlot: hashrate with its band, and shares. Gaps stay gaps and are shaded; marks are lines.

import uPlot from "uplot";
import { dayText, timeText } from "./clock";
import type { GraphData } from "./graph-data";
import { hashrate } from "./numbers";
import { chosenZone } from "./preference";

export type PlotKind = "hashrate" | "shares";

export interface PlotEvents {
  zoom(from: number, to: number): void;
  back(): void;
  point(index: number | null): void;
}

const SYNC = "graphs";
const DAY_S = 86_400;
/** What uPlot takes for a month and a year where it looks for the distance of two lines. */
const [MONTH_S, YEAR_S] = [30 * DAY_S, 365 * DAY_S];

let isOnPaper = false;

/** Colours for paper, which is white whatever theme the screen has, or again for the screen. */
export function chooseGround(paper: boolean): void {
  isOnPaper = paper;
}

/** A colour of the styles as it is now; a canvas does not know that it may be one of two, so an element is asked. */
function color(name: string): string {
  const probe = document.createElement("i");
  // A reader's own colours would make all of them one.
  probe.style.setProperty("forced-color-adjust", "none");
  probe.style.color = `var(${name})`;
  if (isOnPaper) probe.style.colorScheme = "light";
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** Columns as uPlot wants them: moments are the middles of the steps. */
export function columns(kind: PlotKind, data: GraphData): uPlot.AlignedData {
  const times = data.value.map((_, index) => (data.from_ms + (index + 0.5) * data.step_ms) / 1000);
  if (kind === "hashrate") return [times, data.high, data.low, data.value];
  const total = data.accepted.map((accepted, index) =>
    accepted === null ? null : accepted + (data.rejected[index] ?? 0),
  );
  return [times, total, data.accepted];
}

function moments(_: uPlot, splits: number[], __: number, ___: number, step: number): string[] {
  return splits.map((at) => {
    const ms = at * 1000;
    return step >= DAY_S || timeText(ms) === "00:00:00"
      ? dayText(ms).slice(step >= MONTH_S ? 0 : 5)
      : timeText(ms, step < 60);
  });
}

/** Where the lines of the time axis stand in UTC. uPlot finds them by the browser's own clock, which leaves hours out. */
function linesInUtc(_: uPlot, __: number, from: number, to: number, step: number): number[] {
  const lines: number[] = [];
  if (step < MONTH_S) {
    for (let at = Math.ceil(from / step) * step; at <= to; at += step) lines.push(at);
    return lines;
  }
  const months = step < YEAR_S ? Math.round(step / MONTH_S) : 12 * Math.round(step / YEAR_S);
  const begin = new Date(from * 1000);
  let month = Math.floor((begin.getUTCFullYear() * 12 + begin.getUTCMonth()) / months) * months;
  for (let at = 0; at <= to; month += months) {
    at = Date.UTC(Math.floor(month / 12), month % 12) / 1000;
    if (at >= from && at <= to) lines.push(at);
  }
  return lines;
}

/** Shades what was not observed, below everything else. */
function gaps(data: () => GraphData): uPlot.Plugin {
  return {
    hooks: {
      drawClear: (plot) => {
        const { ctx, bbox } = plot;
        const { from_ms, step_ms, value } = data();
        ctx.save();
        ctx.fillStyle = color("--sunken");
        for (let index = 0; index < value.length; index++) {
          if (value[index] !== null) continue;
          const begin = index;
          while (index + 1 < value.length && value[index + 1] === null) index++;
          const x = (at: number) => plot.valToPos((from_ms + at * step_ms) / 1000, "x", true);
          const left = Math.max(x(begin), bbox.left);
          const right = Math.min(x(index + 1), bbox.left + bbox.width);
          if (right > left) ctx.fillRect(left, bbox.top, right - left, bbox.height);
        }
        ctx.restore();
      },
    },
  };
}

function marks(data: () => GraphData): uPlot.Plugin {
  return {
    hooks: {
      draw: (plot) => {
        const { ctx, bbox } = plot;
        const [block, other] = [color("--second"), color("--soft")];
        ctx.save();
        ctx.lineWidth = devicePixelRatio * 1.5;
        for (const mark of data().marks) {
          const x = plot.valToPos(mark.at_ms / 1000, "x", true);
          if (x < bbox.left || x > bbox.left + bbox.width) continue;
          ctx.strokeStyle = mark.kind === "block" ? block : other;
          ctx.setLineDash(mark.kind === "block" ? [] : [4 * devicePixelRatio, 4 * devicePixelRatio]);
          ctx.beginPath();
          ctx.moveTo(x, bbox.top);
          ctx.lineTo(x, bbox.top + bbox.height);
          ctx.stroke();
        }
        ctx.restore();
      },
    },
  };
}

/** Points without a neighbour, through which no line goes; where points are many, only these are drawn. */
function alone(plot: uPlot, index: number, all: boolean): number[] | null {
  if (all) return null;
  const values = plot.data[index];
  const found: number[] = [];
  values?.forEach((value, place) => {
    if (value != null && values[place - 1] == null && values[place + 1] == null) found.push(place);
  });
  return found.length > 0 ? found : null;
}

function series(kind: PlotKind): { series: uPlot.Series[]; bands: uPlot.Band[] } {
  const [accent, wash, bad] = [color("--accent"), color("--accent-wash"), color("--bad")];
  if (kind === "hashrate") {
    const edge = { stroke: "transparent", points: { show: false }, width: 0 };
    return {
      series: [
        {},
        { ...edge, label: "high" },
        { ...edge, label: "low" },
        { label: "hashrate", stroke: accent, width: 1.6, points: { size: 6, fill: accent, filter: alone } },
      ],
      bands: [{ series: [1, 2], fill: wash }],
    };
  }
  const bars = uPlot.paths.bars?.({ size: [0.9, 40, 1], gap: 0 });
  const bar = (label: string, fill: string): uPlot.Series => ({
    label,
    fill,
    stroke: fill,
    width: 0,
    points: { show: false },
    ...(bars ? { paths: bars } : {}),
  });
  return { series: [{}, bar("rejected", bad), bar("accepted", accent)], bands: [] };
}

export function makePlot(
  kind: PlotKind,
  place: HTMLElement,
  data: () => GraphData,
  events: PlotEvents,
): uPlot {
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const [soft, line] = [color("--soft"), color("--line")];
  const axis: uPlot.Axis = { stroke: soft, font, grid: { stroke: line, width: 1 }, ticks: { show: false } };
  const rate = kind === "hashrate";
  const current = data();
  const options: uPlot.Options = {
    width: place.clientWidth,
    height: place.clientHeight,
    // The last moment of the axis may stand at the very edge.
    padding: [10, 28, 0, 0],
    legend: { show: false },
    cursor: {
      // Pointing is shared; a selection belongs to the plot on which it was made.
      sync: {
        key: SYNC,
        setSeries: false,
        filters: { pub: (type) => type === "mousemove" || type === "mouseleave" },
      },
      drag: { x: true, y: false, setScale: false, dist: 6 },
      y: false,
      points: { size: 7 },
    },
    scales: {
      x: { time: true, range: () => [data().from_ms / 1000, data().to_ms / 1000] },
      y: { range: () => [0, top(kind, data())] },
    },
    axes: [
      {
        ...axis,
        values: moments,
        space: 64,
        size: 30,
        ...(chosenZone() === "utc" ? { splits: linesInUtc } : {}),
      },
      {
        ...axis,
        size: 76,
        space: rate ? 42 : 30,
        values: (_, splits) =>
          splits.map((value) =>
            rate ? hashrate(value) : value % 1 === 0 ? value.toLocaleString("en-US") : "",
          ),
      },
    ],
    ...series(kind),
    plugins: [gaps(data), marks(data)],
    hooks: {
      setSelect: [
        (plot) => {
          const { left, width } = plot.select;
          if (width < 6) return;
          const at = (position: number) => plot.posToVal(position, "x") * 1000;
          plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          events.zoom(at(left), at(left + width));
        },
      ],
      setCursor: [(plot) => events.point(plot.cursor.idx ?? null)],
      ready: [
        (plot) => {
          plot.over.addEventListener("dblclick", (event) => {
            event.stopImmediatePropagation();
            events.back();
          });
        },
      ],
    },
  };
  return new uPlot(options, columns(kind, current), place);
}

/** The top of the scale: what one share alone would allow may leave the drawing. */
function top(kind: PlotKind, data: GraphData): number {
  const greatest = (values: (number | null)[]) =>
    values.reduce<number>((most, value) => Math.max(most, value ?? 0), 0);
  if (kind === "shares") {
    const total = data.accepted.map((accepted, index) => (accepted ?? 0) + (data.rejected[index] ?? 0));
    return Math.max(greatest(total), 1) * 1.15;
  }
  const [value, bound] = [greatest(data.value), greatest(data.high)];
  return value > 0 ? Math.min(value * 1.4, Math.max(bound, value) * 1.15) : Math.max(bound, 1);
}
