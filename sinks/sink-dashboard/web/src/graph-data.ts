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

const NAMES = ["5m", "15m", "1h", "6h", "24h", "7d", "30d", "1y"];
const SHORTEST_MS = 60_000;

/** The range that an address names. */
export function rangeOf(address: string): Range {
  const query = new URL(address, location.href).searchParams;
  const [from, to] = [Number(query.get("from")), Number(query.get("to"))];
  if (from > 0 && to > from) return { from, to };
  const name = query.get("range");
  return { name: name !== null && NAMES.includes(name) ? name : null };
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

/** A range around a moment: half as long as another, or twice. It ends at `latest`, behind which there is nothing to show. */
export function zoomed(length: number, factor: number, around: number, latest: number): Range {
  const half = Math.max(length * factor, SHORTEST_MS) / 2;
  const to = Math.min(around + half, latest);
  return { from: Math.max(to - 2 * half, 1), to };
}

export async function readGraph(address: string, asked: AbortController): Promise<GraphData> {
  return JSON.parse(await ask(address, "application/json", asked));
}
