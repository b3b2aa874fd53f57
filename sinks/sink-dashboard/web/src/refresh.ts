// Reads the page again and takes over what changed. Only the newest question counts: an older one is given up, and its answer
// never overwrites a newer one.

import { ask, RefusedError } from "./asking";
import { learnServerTime, serverNow, writeTimes } from "./clock";
import { morph } from "./morph";
import { loadedAnew } from "./upgrade";

let newest = 0;
let pending: AbortController | null = null;
const contentListeners: Array<(arrived: number) => void> = [];
const missListeners: Array<() => void> = [];

/** Whether a question is under way; looks that are only routine wait for it. */
export function isReading(): boolean {
  return pending !== null;
}

/** Told after each change of the page's content, with the server's time when it arrived. */
export function onContent(listener: (arrived: number) => void): void {
  contentListeners.push(listener);
}

/** Told where the content could not be read: what is shown is not what the address asks for any more. */
export function onMiss(listener: () => void): void {
  missListeners.push(listener);
}

/** Reads this address; false where a newer question came first. Throws what the network or the server said. */
export async function readPage(address: string): Promise<boolean> {
  newest += 1;
  const number = newest;
  pending?.abort();
  const asked = new AbortController();
  pending = asked;
  try {
    const text = await ask(address, "text/html", asked);
    if (number !== newest) return false;
    takeOver(new DOMParser().parseFromString(text, "text/html"));
    return true;
  } catch (error) {
    if (number !== newest) return false;
    for (const listener of missListeners) listener();
    throw error;
  } finally {
    if (pending === asked) pending = null;
  }
}

function takeOver(made: Document): void {
  if (loadedAnew(made)) return;
  const arrived = serverNow();
  const { now: madeAt } = made.body.dataset;
  learnServerTime(Number(madeAt));
  document.body.dataset.now = madeAt ?? "";
  const [now, then] = [document, made].map((page) => page.querySelector("[data-region]"));
  if (now && then) {
    const focused = document.activeElement;
    writeTimes(then);
    morph(now, then);
    // A row that moved to another place loses the focus on the way.
    if (focused instanceof HTMLElement && focused.isConnected && focused !== document.activeElement) {
      focused.focus({ preventScroll: true });
    }
  }
  if (document.title !== made.title) document.title = made.title;
  for (const listener of contentListeners) listener(arrived);
}

/** Goes to an address of the same page without loading it anew; whether it is shown now. */
export async function goTo(address: string, remember: "push" | "replace"): Promise<boolean> {
  if (remember === "push") history.pushState(null, "", address);
  else history.replaceState(null, "", address);
  return await readHere();
}

/** Reads the address that the browser shows. Where nothing answers, what is shown stays until the next look brings it. */
export async function readHere(): Promise<boolean> {
  try {
    return await readPage(location.href);
  } catch (error) {
    if (error instanceof RefusedError && error.isFinal) location.reload();
    return false;
  }
}
