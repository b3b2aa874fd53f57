// The live stream: numbers that tick each second, the page's content now and then and whenever something happens. Says whether
// it works; when it does not, polls. A hidden tab asks nothing.

import { learnServerTime, serverNow, timeText } from "./clock";
import { isReading, readPage } from "./refresh";
import { tick, type Update } from "./ticking";

const STREAM = "/api/v1/live";
/** How often the content is read while the stream works: lists move slowly. */
const CONTENT_EVERY_MS = 10_000;
/** Hashrates over short windows do not: they come with all that they rest on, or they would contradict each other. */
const HASHRATES_EVERY_MS = 3_000;
/** Where such hashrates are. */
const HASHRATES = ["/", "/worker"];
/** After something happened, such as a block, the content is read so soon. */
const SOON_MS = 1_000;
/** How often the page is read while there is no stream. */
const POLL_EVERY_MS = 5_000;
/** The server speaks every second; after so long without a word the numbers are called stale. */
const SILENT_AFTER_MS = 8_000;
/** A stream that was refused is tried again after so long. */
const RETRY_MS = 5_000;

type LinkState = "connecting" | "live" | "polling" | "reconnecting" | "stale" | "paused";

const listeners: Array<() => void> = [];
let stream: EventSource | null = null;
let heardAt = Date.now();
let heardServerTime = serverNow();
let contentAt = Date.now();
let polledAt = Date.now();
let streamWorks = false;
/** Before the first word of the stream nothing was lost: the page is as it was made. */
let everHeard = false;
/** The last look at the page without the stream was answered. */
let pollWorks = false;
let retryAt = 0;
let contentWanted = Number.POSITIVE_INFINITY;

/** Told when graphs may have new points. */
export function onLive(listener: () => void): void {
  listeners.push(listener);
}

function heard(): void {
  heardAt = Date.now();
  heardServerTime = serverNow();
}

function show(state: LinkState): void {
  const { dataset } = document.documentElement;
  // Styles take the strength from what is not of now.
  if (dataset.link !== state) dataset.link = state;
  const element = document.querySelector<HTMLElement>("[data-link-state]");
  if (!element) return;
  const since = timeText(heardServerTime);
  const words: Record<LinkState, string> = {
    connecting: "Connecting",
    live: "Live",
    polling: `Live, every ${POLL_EVERY_MS / 1000} s`,
    reconnecting: "Reconnecting",
    stale: `Stale since ${since}`,
    paused: "Paused",
  };
  if (element.dataset.state !== state) element.dataset.state = state === "polling" ? "live" : state;
  if (element.textContent !== words[state]) element.textContent = words[state];
}

function open(): void {
  stream = new EventSource(STREAM);
  const opened = stream;
  const message = (type: string, take: (data: string) => void) =>
    opened.addEventListener(type, (event) => {
      if (opened !== stream) return;
      streamWorks = true;
      everHeard = true;
      heard();
      take((event as MessageEvent<string>).data);
    });
  message("update", (data) => {
    const update: Update = JSON.parse(data);
    learnServerTime(update.at_ms);
    heard();
    tick(update);
    if (update.more_workers > 0) contentWanted = Math.min(contentWanted, Date.now() + SOON_MS);
    for (const listener of listeners) listener();
  });
  for (const type of ["worker", "block", "quote", "source", "reset"]) {
    message(type, () => {
      contentWanted = Math.min(contentWanted, Date.now() + SOON_MS);
    });
  }
  opened.addEventListener("error", () => {
    if (opened !== stream) return;
    streamWorks = false;
    // The browser reconnects by itself with the last id; only a refusal ends the stream.
    if (opened.readyState === EventSource.CLOSED) {
      stream = null;
      retryAt = Date.now() + RETRY_MS;
    }
  });
}

function close(): void {
  stream?.close();
  stream = null;
  streamWorks = false;
}

function contentEvery(): number {
  return HASHRATES.includes(location.pathname) ? HASHRATES_EVERY_MS : CONTENT_EVERY_MS;
}

async function read(): Promise<void> {
  contentAt = Date.now();
  contentWanted = Number.POSITIVE_INFINITY;
  try {
    if (await readPage(location.href)) {
      heard();
      pollWorks = !streamWorks;
    }
  } catch {
    pollWorks = false;
    // The state that is shown says since when nothing was heard.
  }
}

function look(): void {
  const now = Date.now();
  if (document.hidden) {
    if (stream) close();
    show("paused");
    return;
  }
  if (!stream && now >= retryAt) open();
  if (streamWorks) {
    if ((now >= contentWanted || now - contentAt >= contentEvery()) && !isReading()) void read();
  } else if (now - polledAt >= POLL_EVERY_MS && !isReading()) {
    polledAt = now;
    void read();
    for (const listener of listeners) listener();
  }
  if (now - heardAt > SILENT_AFTER_MS) show("stale");
  else if (streamWorks) show("live");
  else if (pollWorks) show("polling");
  else show(everHeard ? "reconnecting" : "connecting");
}

export function startLive(): void {
  learnServerTime(Number(document.body.dataset.now));
  heard();
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      // Whatever was missed meanwhile is on the page as it is now.
      heard();
      contentWanted = 0;
      retryAt = 0;
    }
    look();
    if (!document.hidden) void read();
  });
  addEventListener("pagehide", close);
  look();
  setInterval(look, 500);
}
