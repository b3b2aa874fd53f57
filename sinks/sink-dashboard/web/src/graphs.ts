// A graph on a page: reads its data, keeps range and address together, and draws. Where this script runs, the server's drawing is
// replaced; where the data cannot be read, it stays.

import type uPlot from "uplot";
import { RefusedError } from "./asking";
import { momentText, serverNow, writeTimes } from "./clock";
import { type GraphData, type Range, rangeOf, readGraph, withRange, zoomed } from "./graph-data";
import { count, hashrate, length } from "./numbers";
import { chooseGround, columns, makePlot, type PlotKind } from "./plots";

/** A graph is read again when a new point may be there, but not more often than this. */
const AGAIN_MS = 10_000;
/** After a failure it is read again so soon. */
const RETRY_MS = 5_000;
const KINDS: readonly PlotKind[] = ["hashrate", "shares"];

class Graph {
  private range: Range;
  /** The range that is shown. */
  private shown: Range | null = null;
  private data: GraphData | null = null;
  private readonly plots = new Map<PlotKind, uPlot>();
  private asked: AbortController | null = null;
  private number = 0;
  private readAt = 0;
  /** The server's time of what is shown. */
  private dataAt = 0;
  /** The last attempt to read the data failed. */
  private failed = false;
  /** The same question will be refused again. */
  private refused = false;
  /** The moment that was touched last. */
  private touched: number | null = null;
  private readonly size = new ResizeObserver(() => this.resize());

  constructor(private readonly element: HTMLElement) {
    this.range = rangeOf(location.href);
    element.addEventListener("click", (event) => {
      const link =
        event.target instanceof Element ? event.target.closest<HTMLAnchorElement>("a[data-range]") : null;
      if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      this.go({ name: link.dataset.range ?? null });
    });
    this.addZoom();
    for (const kind of KINDS) {
      const place = this.place(kind);
      if (!place) continue;
      place.tabIndex = 0;
      place.setAttribute("role", "group");
      place.setAttribute(
        "aria-label",
        `${kind === "hashrate" ? "Hashrate" : "Shares"}: arrow keys move, plus and minus zoom`,
      );
      place.addEventListener("keydown", (event) => this.key(event));
      place.addEventListener("pointerdown", (event) => this.touch(kind, event));
      this.size.observe(place);
    }
    const readout = this.readout();
    readout?.removeAttribute("aria-hidden");
    readout?.setAttribute("aria-live", "polite");
    void this.read();
  }

  get alive(): boolean {
    return this.element.isConnected;
  }

  stop(): void {
    this.asked?.abort();
    this.size.disconnect();
    for (const plot of this.plots.values()) plot.destroy();
    this.plots.clear();
  }

  /** Takes the range from the address, after the reader went back or forth. */
  follow(): void {
    this.range = rangeOf(location.href);
    void this.read();
  }

  /** Reads new points, where the range ends now; what could not be read, in any case. */
  refresh(): void {
    const every = this.failed ? RETRY_MS : Math.max(AGAIN_MS, (this.data?.step_ms ?? 0) / 2);
    const isDue = (this.failed || "name" in this.range) && Date.now() - this.readAt >= every;
    if (this.asked === null && isDue && !this.refused) void this.read();
  }

  /** Draws anew with other colours or another time zone. */
  redraw(): void {
    for (const plot of this.plots.values()) plot.destroy();
    this.plots.clear();
    this.draw();
    this.tell();
  }

  private addZoom(): void {
    const buttons = document.createElement("span");
    buttons.className = "buttons";
    for (const [sign, words, factor] of [
      ["\u2212", "Zoom out", 2],
      ["+", "Zoom in", 0.5],
    ] as const) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = sign;
      button.title = words;
      button.setAttribute("aria-label", words);
      button.addEventListener("click", () => this.zoom(factor));
      buttons.append(button);
    }
    this.element.querySelector(".ranges")?.after(buttons);
  }

  private go(range: Range): void {
    this.range = range;
    const address = withRange(location.href, range);
    // What is chosen again is no other place to go back to.
    if (address !== withRange(location.href, rangeOf(location.href))) history.pushState(null, "", address);
    void this.read();
  }

  private async read(): Promise<void> {
    this.asked?.abort();
    const asked = new AbortController();
    this.asked = asked;
    this.number += 1;
    const number = this.number;
    this.readAt = Date.now();
    this.element.setAttribute("aria-busy", "true");
    try {
      const range = this.range;
      const data = await readGraph(withRange(this.element.dataset.graph ?? "", range), asked);
      // An older answer never overwrites a newer one.
      if (number !== this.number) return;
      this.data = data;
      this.shown = range;
      this.dataAt = serverNow();
      this.mark(false);
      this.draw();
      this.tell();
    } catch (error) {
      if (number === this.number) this.mark(true, error instanceof RefusedError && error.isFinal);
    } finally {
      if (number === this.number) {
        this.asked = null;
        this.element.removeAttribute("aria-busy");
      }
    }
  }

  /** Whether what is shown is what was asked for, as of now. */
  private mark(failed: boolean, refused = false): void {
    const speaks = failed || this.failed;
    this.failed = failed;
    this.refused = refused;
    this.element.toggleAttribute("data-failed", failed);
    if (speaks) this.say("");
  }

  private draw(): void {
    const data = this.data;
    if (!data) return;
    for (const kind of KINDS) {
      const place = this.place(kind);
      const plot = this.plots.get(kind);
      if (plot) {
        plot.setData(columns(kind, data));
      } else if (place) {
        place.replaceChildren();
        const events = {
          zoom: (from: number, to: number) => this.go({ from, to }),
          back: () => this.go({ name: null }),
          point: (index: number | null) => this.point(index),
        };
        this.plots.set(
          kind,
          makePlot(kind, place, () => this.data ?? data, events),
        );
      }
    }
  }

  /** Everything beside the drawing that says what it shows. */
  private tell(): void {
    const data = this.data;
    if (!data) return;
    const put = (selector: string, text: string) => {
      const element = this.element.querySelector(selector);
      if (element && element.textContent !== text) element.textContent = text;
    };
    put('[data-graph-summary="hashrate"]', data.hashrate_summary);
    put('[data-graph-summary="shares"]', data.shares_summary);
    put(
      "[data-graph-span]",
      `${momentText(data.from_ms)} to ${momentText(data.to_ms)}, one point for ${length(data.step_ms)}`,
    );
    for (const link of this.element.querySelectorAll<HTMLAnchorElement>("a[data-range]")) {
      if (link.dataset.range === data.range) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    // Of what is shown, by its name: another time the usual range may be another one.
    const range: Range = data.range === null ? { from: data.from_ms, to: data.to_ms } : { name: data.range };
    const table = this.element.querySelector<HTMLAnchorElement>("[data-graph-table]");
    if (table) table.href = `${withRange(location.href, range)}&view=table`;
    const csv = this.element.querySelector<HTMLAnchorElement>("[data-graph-csv]");
    if (csv) csv.href = withRange(csv.href, range);
    const { dataset } = this.element;
    dataset.from = String(data.from_ms);
    dataset.to = String(data.to_ms);
    dataset.range = data.range ?? "";
    dataset.drawn = "";
  }

  private point(index: number | null): void {
    const data = this.data;
    if (!data) return;
    if (index === null) {
      this.say("");
      return;
    }
    const at = data.from_ms + index * data.step_ms;
    const value = data.value[index];
    const rate = (number: number | null | undefined) => (number == null ? "unknown" : hashrate(number));
    const parts = [`${momentText(at)}:`];
    if (value == null) parts.push("no data");
    else if (value === 0 && data.high[index] != null) parts.push(`no share, below ${rate(data.high[index])}`);
    else if (value === 0) parts.push("no share");
    else parts.push(`${hashrate(value)}, 95 % ${rate(data.low[index])} to ${rate(data.high[index])}`);
    if (data.accepted[index] != null) {
      parts.push(`· ${count(data.accepted[index])} accepted, ${count(data.rejected[index] ?? 0)} rejected`);
    }
    const near = data.marks.filter(
      (mark) => mark.at_ms >= at - data.step_ms && mark.at_ms < at + 2 * data.step_ms,
    );
    for (const mark of near.slice(0, 2)) parts.push(`· ${mark.text}`);
    this.say(parts.join(" "));
  }

  private key(event: KeyboardEvent): void {
    const data = this.data;
    const plot = this.plots.get("hashrate");
    if (!data || !plot || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = data.value.length - 1;
    const index = plot.cursor.idx ?? null;
    const moves: Record<string, () => void> = {
      ArrowLeft: () => this.moveTo(plot, index === null ? last : Math.max(index - 1, 0)),
      ArrowRight: () => this.moveTo(plot, index === null ? 0 : Math.min(index + 1, last)),
      Home: () => this.moveTo(plot, 0),
      End: () => this.moveTo(plot, last),
      "+": () => this.zoom(0.5),
      "-": () => this.zoom(2),
      Escape: () => this.go({ name: null }),
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    move();
  }

  /** Zooms around what is pointed at or was touched, if that is shown, or else around the middle. */
  private zoom(factor: number): void {
    const data = this.data;
    if (!data) return;
    const { from_ms: from, to_ms: to } = data;
    const index = this.plots.get("hashrate")?.cursor.idx ?? null;
    const at = index === null ? this.touched : from + (index + 0.5) * data.step_ms;
    const around = at !== null && at >= from && at <= to ? at : (from + to) / 2;
    this.go(zoomed(to - from, factor, around, serverNow()));
  }

  private touch(kind: PlotKind, event: PointerEvent): void {
    const plot = this.plots.get(kind);
    // A mouse is still there when it counts where it points.
    if (!plot || event.pointerType === "mouse") return;
    this.touched = plot.posToVal(event.clientX - plot.over.getBoundingClientRect().left, "x") * 1000;
  }

  private moveTo(plot: uPlot, index: number): void {
    const at = plot.data[0][index];
    if (at !== undefined) plot.setCursor({ left: plot.valToPos(at, "x"), top: 10 });
  }

  private resize(): void {
    for (const [kind, plot] of this.plots) {
      const place = this.place(kind);
      if (
        place &&
        place.clientWidth > 0 &&
        (place.clientWidth !== plot.width || place.clientHeight !== plot.height)
      ) {
        plot.setSize({ width: place.clientWidth, height: place.clientHeight });
      }
    }
  }

  private place(kind: PlotKind): HTMLElement | null {
    return this.element.querySelector(`[data-plot="${kind}"]`);
  }

  private readout(): HTMLElement | null {
    return this.element.querySelector("[data-readout]");
  }

  /** What the reader points at, in words; while that is nothing, what is wrong with the graph. */
  private say(text: string): void {
    const readout = this.readout();
    const shown = text || (this.failed ? this.fault() : "");
    if (readout && readout.textContent !== shown) readout.textContent = shown;
  }

  private fault(): string {
    const again = this.refused ? "" : "; trying again";
    if (!this.data) return `The graph's data could not be read${again}.`;
    const isShown = this.shown !== null && withRange("/", this.shown) === withRange("/", this.range);
    if (isShown) return `No new data since ${momentText(this.dataAt)}${again}.`;
    const asked = "name" in this.range ? (this.range.name ?? "The usual range") : "The selected range";
    return `${asked} could not be read${again}. ${this.data.range ?? "The previous range"} is still shown.`;
  }
}

const graphs = new Map<HTMLElement, Graph>();

/** Draws the graphs that are new on the page, and lets go of those that left it. */
export function startGraphs(): void {
  for (const [element, graph] of graphs) {
    if (graph.alive) continue;
    graph.stop();
    graphs.delete(element);
  }
  for (const element of document.querySelectorAll<HTMLElement>("[data-graph]")) {
    if (!graphs.has(element) && element.querySelector("[data-plot]")) graphs.set(element, new Graph(element));
  }
}

export function refreshGraphs(): void {
  for (const graph of graphs.values()) graph.refresh();
}

export function followAddress(): void {
  for (const graph of graphs.values()) graph.follow();
}

export function redrawGraphs(): void {
  writeTimes();
  for (const graph of graphs.values()) graph.redraw();
}

/** Draws for paper, with its colours and where it can be known its width, and afterwards for the screen again. */
export function startPrinting(): void {
  const draw = (paper: boolean) => {
    chooseGround(paper);
    redrawGraphs();
  };
  // Before printing the page is still as wide as the screen; some browsers tell when it no longer is, others print a copy.
  const print = matchMedia("print");
  print.addEventListener("change", () => draw(print.matches));
  addEventListener("beforeprint", () => draw(true));
  addEventListener("afterprint", () => draw(false));
}
