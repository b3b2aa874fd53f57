// A graph on a page: reads its data, keeps range and address together, and draws. Where this script runs, the server's drawing is
// replaced; where the data cannot be read, it stays.

import type uPlot from "uplot";
import { momentText, serverNow, writeTimes } from "./clock";
import { type GraphData, type Range, rangeOf, readGraph, withRange, zoomed } from "./graph-data";
import { count, hashrate, length } from "./numbers";
import { columns, makePlot, type PlotKind } from "./plots";

/** A graph is read again when a new point may be there, but not more often than this. */
const AGAIN_MS = 10_000;
const KINDS: readonly PlotKind[] = ["hashrate", "shares"];

class Graph {
  /** The range of an address that names none; the server chose it by what there is to show. */
  private readonly usual: string;
  private range: Range;
  private data: GraphData | null = null;
  private readonly plots = new Map<PlotKind, uPlot>();
  private asked: AbortController | null = null;
  private number = 0;
  private readAt = 0;
  private readonly size = new ResizeObserver(() => this.resize());

  constructor(private readonly element: HTMLElement) {
    this.usual = element.dataset.usual ?? "";
    this.range = rangeOf(location.href, this.usual);
    element.addEventListener("click", (event) => {
      const link =
        event.target instanceof Element ? event.target.closest<HTMLAnchorElement>("a[data-range]") : null;
      if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      this.go({ name: link.dataset.range ?? this.usual });
    });
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
    this.range = rangeOf(location.href, this.usual);
    void this.read();
  }

  /** Reads new points, where the range ends now. */
  refresh(): void {
    const step = this.data?.step_ms ?? 0;
    if (
      this.asked === null &&
      "name" in this.range &&
      Date.now() - this.readAt >= Math.max(AGAIN_MS, step / 2)
    )
      void this.read();
  }

  /** Draws anew with other colours or another time zone. */
  redraw(): void {
    for (const plot of this.plots.values()) plot.destroy();
    this.plots.clear();
    this.draw();
    this.tell();
  }

  private go(range: Range): void {
    this.range = range;
    history.pushState(null, "", withRange(location.href, range));
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
      const data = await readGraph(withRange(this.element.dataset.graph ?? "", this.range), asked.signal);
      // An older answer never overwrites a newer one.
      if (number !== this.number) return;
      this.data = data;
      this.draw();
      this.tell();
    } catch {
      if (number === this.number && this.data === null)
        this.say("The graph's data could not be read; it is tried again.");
    } finally {
      if (number === this.number) {
        this.asked = null;
        this.element.removeAttribute("aria-busy");
      }
    }
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
          back: () => this.go({ name: this.usual }),
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
    const table = this.element.querySelector<HTMLAnchorElement>("[data-graph-table]");
    if (table) table.href = `${withRange(location.href, this.range)}&view=table`;
    const csv = this.element.querySelector<HTMLAnchorElement>("[data-graph-csv]");
    if (csv) csv.href = withRange(csv.href, this.range);
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
      "+": () => this.go(zoomed(data.from_ms, data.to_ms, 0.5)),
      "-": () => this.go(zoomed(data.from_ms, Math.min(data.to_ms, serverNow()), 2)),
      Escape: () => this.go({ name: this.usual }),
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    move();
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

  private say(text: string): void {
    const readout = this.readout();
    if (readout && readout.textContent !== text) readout.textContent = text;
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
