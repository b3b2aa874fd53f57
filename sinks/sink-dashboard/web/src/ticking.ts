// Counts that move each second: taken from a live update and put where the server wrote them. Hashrates come with the content,
// together with the shares and the interval that they rest on.

import { count, perCent, plural } from "./numbers";
import { onContent } from "./refresh";

/** An update tells the shares of the second before it. */
const SPAN_MS = 1_000;
/** What a page counts may be this much later than what it says of when it was made. */
const MADE_WITHIN_MS = 1_000;

/** Updates from this server's time on tell of shares that are not yet among those on the page. */
let countedFrom = 0;

function learnCounted(arrived: number): void {
  const made = Number(document.body.dataset.now);
  countedFrom = Math.max(arrived, made + MADE_WITHIN_MS) + SPAN_MS;
}

export function startTicking(): void {
  learnCounted(0);
  onContent(learnCounted);
}

interface SourceUpdate {
  publisher: string;
  state: "live" | "stale" | "ended";
  last_event_ms: number;
  downstreams: number;
  channels_open: number;
  miners_open: number;
  workers_online: number;
  accepted: number;
  rejected: number;
  blocks: number;
}

interface WorkerUpdate {
  publisher: string;
  kind: "identity" | "miner";
  name: string;
  accepted: number;
  rejected: number;
  last_share_ms: number | null;
}

export interface Update {
  at_ms: number;
  sources: SourceUpdate[];
  /** Why `sources` is empty, where the history could not be read. */
  history_error: string | null;
  workers: WorkerUpdate[];
  more_workers: number;
}

function put(element: Element | null | undefined, text: string): void {
  if (element && element.textContent !== text) element.textContent = text;
}

/** A count with its part of all that was submitted. */
function tickPart(key: string, part: number, whole: number): void {
  const figure = document.querySelector(`[data-ticks] [data-key="${key}"]`);
  put(figure?.querySelector(".figure"), count(part));
  put(figure?.querySelector("[data-part]"), perCent(part, whole));
  put(figure?.querySelector("[data-whole]"), count(whole));
}

/** Who is online, with what is open. */
function tickOnline(source: SourceUpdate, row: Element | null, isShown: boolean): void {
  put(row?.querySelector("[data-online]"), count(source.workers_online));
  if (!isShown) return;
  const figure = document.querySelector('[data-ticks] [data-key="online"]');
  put(figure?.querySelector(".figure"), count(source.workers_online));
  put(figure?.querySelector("[data-channels]"), plural(source.channels_open, "channel"));
  put(figure?.querySelector("[data-downstreams]"), plural(source.downstreams, "connection"));
  put(figure?.querySelector("[data-miners]"), plural(source.miners_open, "connection"));
}

function putTime(time: HTMLElement | null, ms: number | null): void {
  if (time && ms !== null && time.dataset.ms !== String(ms)) time.dataset.ms = String(ms);
}

export function tick(update: Update): void {
  const shown = document.querySelector<HTMLElement>("[data-source]")?.dataset.source;
  for (const source of update.sources) {
    const row = document.querySelector(`[data-sources] tr[data-key="${CSS.escape(source.publisher)}"]`);
    putTime(row?.querySelector<HTMLElement>("time[data-ago]") ?? null, source.last_event_ms);
    if (source.state !== "live") continue;
    tickOnline(source, row, source.publisher === shown);
    if (source.publisher !== shown) continue;
    tickPart("accepted", source.accepted, source.accepted + source.rejected);
    tickPart("rejected", source.rejected, source.accepted + source.rejected);
  }
  const rows = document.querySelector(".workers tbody");
  if (!rows) return;
  for (const worker of update.workers) {
    if (worker.publisher !== shown) continue;
    const row = rows.querySelector(`tr[data-key="${CSS.escape(`${worker.kind} ${worker.name}`)}"]`);
    putTime(row?.querySelector<HTMLElement>("time[data-ago]") ?? null, worker.last_share_ms);
    const accepted = row?.querySelector<HTMLElement>("[data-count]");
    if (accepted && worker.accepted > 0 && update.at_ms >= countedFrom) {
      const total = Number(accepted.dataset.count) + worker.accepted;
      accepted.dataset.count = String(total);
      accepted.textContent = count(total);
    }
  }
}
