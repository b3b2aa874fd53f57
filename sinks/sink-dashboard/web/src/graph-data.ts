// What a graph shows, as the server gives it, and the range that is asked for.

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

/** A named range that ends now, or two moments. */
export type Range = { name: string } | { from: number; to: number };

const NAMES = ["5m", "15m", "1h", "6h", "24h", "7d", "30d", "1y"];
const SHORTEST_MS = 60_000;

/** The range that an address names; the server's usual one if it names none. */
export function rangeOf(address: string, usual: string): Range {
  const query = new URL(address, location.href).searchParams;
  const [from, to] = [Number(query.get("from")), Number(query.get("to"))];
  if (from > 0 && to > from) return { from, to };
  const name = query.get("range");
  return { name: name !== null && NAMES.includes(name) ? name : usual };
}

/** The same address with another range. */
export function withRange(address: string, range: Range): string {
  const url = new URL(address, location.href);
  for (const name of ["range", "from", "to"]) url.searchParams.delete(name);
  if ("name" in range) {
    url.searchParams.set("range", range.name);
  } else {
    url.searchParams.set("from", String(Math.round(range.from)));
    url.searchParams.set("to", String(Math.round(range.to)));
  }
  return url.pathname + url.search;
}

/** A part of a range around its middle: half as long, or twice. */
export function zoomed(from: number, to: number, factor: number): Range {
  const [middle, half] = [(from + to) / 2, Math.max(((to - from) / 2) * factor, SHORTEST_MS / 2)];
  return { from: middle - half, to: middle + half };
}

export async function readGraph(address: string, signal: AbortSignal): Promise<GraphData> {
  const response = await fetch(address, { signal, headers: { accept: "application/json" } });
  if (!response.ok) throw new Error(`the sidecar answered ${response.status}`);
  return await response.json();
}
