// What a graph shows, as the server gives it, and the range that is asked for.

import { ask } from "./asking";

export type MarkKind = "block" | "restart" | "outage";

export interface Mark {
  kind: MarkKind;
  at_ms: number;
  text: string;
}

export interface GraphData {
  from_ms: number;
  to_ms: number;
  step_ms: number;
  range: string | null;
  value: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
  observed: number[];
  accepted: (number | null)[];
  rejected: (number | null)[];
  marks: Mark[];
  hashrate_summary: string;
  shares_summary: string;
}

/** A named range that ends now, without a name the one that the server chooses by what there is to show; or two moments. */
export type Range = { name: string | null } | { from: number; to: number };

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const LENGTHS: ReadonlyMap<string, number> = new Map([
  ["5m", 5 * MINUTE_MS],
  ["15m", 15 * MINUTE_MS],
  ["1h", HOUR_MS],
  ["6h", 6 * HOUR_MS],
  ["24h", DAY_MS],
  ["7d", 7 * DAY_MS],
  ["30d", 30 * DAY_MS],
  ["1y", 365 * DAY_MS],
]);
const SHORTEST_MS = MINUTE_MS;
/** Ranges begin and end with a step: of their length so much may differ from that of a named one... */
const ABOUT = 0.02;
/** ... and so much may have passed since they ended. */
const ABOUT_NOW = 0.05;

/** The range that an address names. */
export function rangeOf(address: string): Range {
  const query = new URL(address, location.href).searchParams;
  const [from, to] = [Number(query.get("from")), Number(query.get("to"))];
  if (from > 0 && to > from) return { from, to };
  const name = query.get("range");
  return { name: name !== null && LENGTHS.has(name) ? name : null };
}

/** The same address with another range. */
export function withRange(address: string, range: Range): string {
  const url = new URL(address, location.href);
  for (const name of ["range", "from", "to"]) url.searchParams.delete(name);
  if ("name" in range) {
    if (range.name !== null) url.searchParams.set("range", range.name);
  } else {
    url.searchParams.set("from", String(Math.round(range.from)));
    url.searchParams.set("to", String(Math.round(range.to)));
  }
  return url.pathname + url.search;
}

/** A range around a moment: half as long as another, or twice. It ends at `latest`, behind which there is nothing to show. Where it
 * is about a named range it becomes that one, which goes on. */
export function zoomed(length: number, factor: number, around: number, latest: number): Range {
  const half = Math.max(length * factor, SHORTEST_MS) / 2;
  const to = Math.min(around + half, latest);
  if (latest - to <= 2 * half * ABOUT_NOW) {
    for (const [name, named] of LENGTHS) {
      if (Math.abs((2 * half) / named - 1) < ABOUT) return { name };
    }
  }
  return { from: Math.max(to - 2 * half, 1), to };
}

export async function readGraph(address: string, asked: AbortController): Promise<GraphData> {
  return JSON.parse(await ask(address, "application/json", asked));
}
