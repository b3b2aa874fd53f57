// The live stream: numbers that tick each second, the page's content now and then and whenever something happens. Says whether
// it works; when it does not, polls. A hidden tab asks nothing.

import { learnServerTime, timeText } from "./clock";
import { isReading, onContent, onMiss, readPage } from "./refresh";
import { tick, type Update } from "./ticking";

const STREAM = "/api/v1/live";
/** How often the content is read while the stream works: lists move slowly. */
const CONTENT_EVERY_MS = 10_000;
/** Hashrates over short windows do not: they come with all that they rest on, or they would contradict each other. */
const HASHRATES_EVERY_MS = 3_000;
/** Where such hashrates are. */
const HASHRATES = ["/", "/worker"];
/** Where quotes are listed; elsewhere they are a count among others. */
const QUOTES = ["/quotes"];
/** After something happened, such as a block, the content is read so soon... */
const SOON_MS = 1_000;
/** ... but never more often than this, whatever happens. */
const APART_MS = 3_000;
/** Content that was to be read so many times over is stale, however well the stream works. */
const MISSED_READS = 3;
/** How often the page is read while there is no stream. */
const POLL_EVERY_MS = 5_000;
/** The server speaks every second; a stream that says nothing for so long is opened anew, and the page is polled meanwhile. */
const SILENT_AFTER_MS = 6_000;
/** After so long without a word, be it the stream's or a page, the numbers are called stale. */
const STALE_AFTER_MS = 8_000;
/** The server may miss its history now and then; after so many updates in a row that do, the numbers are called stale. */
const MISSED_HISTORY = 3;
/** A stream that was refused is tried again after so long. */
const RETRY_MS = 5_000;

type LinkState = "connecting" | "live" | "retrying" | "polling" | "reconnecting" | "stale" | "paused";

const listeners: Array<() => void> = [];
let stream: EventSource | null = null;
/** When the server was heard last, or the moment from which it is waited for. */
let heardAt = Date.now();
/** The same of the stream alone. */
let streamHeardAt = Date.now();
/** The same of the content: a stream that speaks says nothing about what it does not carry. */
let contentHeardAt = Date.now();
/** The server's time of what is shown. */
let contentServerTime = 0;
/** The last attempt to read the content failed. */
let contentMissed = false;
/** How many updates in a row told that the server itself cannot read the numbers. */
let historyMisses = 0;
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

function contentCame(): void {
  heardAt = Date.now();
  contentHeardAt = heardAt;
  contentServerTime = Number(document.body.dataset.now);
  contentMissed = false;
  pollWorks = !streamWorks;
}

function contentFailed(): void {
  contentMissed = true;
  pollWorks = false;
  contentWanted = 0;
}

function wantContent(): void {
  contentWanted = Math.min(contentWanted, Date.now() + SOON_MS);
}

/** Whether something that happened to this publisher changes the page. */
function concernsPage(type: string, publisher: string): boolean {
  if (type === "quote" && !QUOTES.includes(location.pathname)) return false;
  return document.querySelector<HTMLElement>("[data-source]")?.dataset.source === publisher;
}

function show(state: LinkState): void {
  const { dataset } = document.documentElement;
  // Styles take the strength from what is not of now.
  if (dataset.link !== state) dataset.link = state;
  const element = document.querySelector<HTMLElement>("[data-link-state]");
  if (!element) return;
  const since = timeText(contentServerTime);
  const words: Record<LinkState, string> = {
    connecting: "Connecting",
    live: "Live",
    retrying: "Retrying",
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
  streamHeardAt = Date.now();
  const opened = stream;
  const message = (type: string, take: (data: string) => void) =>
    opened.addEventListener(type, (event) => {
      if (opened !== stream) return;
      streamWorks = true;
      everHeard = true;
      heardAt = Date.now();
      streamHeardAt = heardAt;
      take((event as MessageEvent<string>).data);
    });
  message("update", (data) => {
    const update: Update = JSON.parse(data);
    learnServerTime(update.at_ms);
    historyMisses = update.history_error === null ? 0 : historyMisses + 1;
    tick(update);
    // Not every row of a list of workers could tick.
    if (update.more_workers > 0 && document.querySelector(".workers")) wantContent();
    for (const listener of listeners) listener();
  });
  for (const type of ["worker", "quote"]) {
    message(type, (data) => {
      const { publisher }: { publisher: string } = JSON.parse(data);
      if (concernsPage(type, publisher)) wantContent();
    });
  }
  for (const type of ["block", "source", "reset"]) message(type, wantContent);
  opened.addEventListener("error", () => {
    if (opened !== stream) return;
    streamWorks = false;
    historyMisses = 0;
    // What fails is not silent.
    streamHeardAt = Date.now();
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
  historyMisses = 0;
}

function contentEvery(): number {
  return HASHRATES.includes(location.pathname) ? HASHRATES_EVERY_MS : CONTENT_EVERY_MS;
}

async function read(): Promise<void> {
  contentAt = Date.now();
  contentWanted = Number.POSITIVE_INFINITY;
  // A failure is told to those who asked to be told.
  await readPage(location.href).catch(() => false);
}

function look(): void {
  const now = Date.now();
  if (document.hidden) {
    if (stream) close();
    show("paused");
    return;
  }
  if (stream && now - streamHeardAt > SILENT_AFTER_MS) close();
  if (!stream && now >= retryAt) open();
  if (streamWorks) {
    const every = now >= contentWanted ? APART_MS : contentEvery();
    if (now - contentAt >= every && !isReading()) void read();
  } else if (now - polledAt >= POLL_EVERY_MS && !isReading()) {
    polledAt = now;
    void read();
    for (const listener of listeners) listener();
  }
  const isOld = historyMisses >= MISSED_HISTORY || now - contentHeardAt > MISSED_READS * contentEvery();
  if (isOld || now - heardAt > STALE_AFTER_MS) show("stale");
  else if (streamWorks) show(contentMissed ? "retrying" : "live");
  else if (pollWorks) show("polling");
  else show(everHeard ? "reconnecting" : "connecting");
}

export function startLive(): void {
  learnServerTime(Number(document.body.dataset.now));
  contentCame();
  pollWorks = false;
  onContent(contentCame);
  onMiss(contentFailed);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      // What was missed meanwhile is asked for now. Until it comes nothing was heard, and the page is as old as it was.
      heardAt = Date.now();
      contentHeardAt = heardAt;
      polledAt = heardAt;
      pollWorks = false;
      retryAt = 0;
      void read();
    }
    look();
  });
  addEventListener("pagehide", close);
  look();
  setInterval(look, 500);
}
