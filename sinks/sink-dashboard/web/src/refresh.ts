// Reads the page again and takes over what changed. Only the newest question counts: an older one is given up, and its answer
// never overwrites a newer one.

import { learnServerTime, writeTimes } from "./clock";
import { morph } from "./morph";

let newest = 0;
let pending: AbortController | null = null;
const listeners: Array<() => void> = [];

/** Whether a question is under way; looks that are only routine wait for it. */
export function isReading(): boolean {
  return pending !== null;
}

/** Told after each change of the page's content. */
export function onContent(listener: () => void): void {
  listeners.push(listener);
}

/** Reads this address; false where a newer question came first. Throws what the network or the server said. */
export async function readPage(address: string): Promise<boolean> {
  newest += 1;
  const number = newest;
  pending?.abort();
  const asked = new AbortController();
  pending = asked;
  try {
    const response = await fetch(address, { signal: asked.signal, headers: { accept: "text/html" } });
    const text = await response.text();
    if (number !== newest) return false;
    if (!response.ok) throw new Error(`the sidecar answered ${response.status}`);
    takeOver(new DOMParser().parseFromString(text, "text/html"));
    return true;
  } catch (error) {
    if (number !== newest) return false;
    throw error;
  } finally {
    if (pending === asked) pending = null;
  }
}

function takeOver(made: Document): void {
  learnServerTime(Number(made.body.dataset.now));
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
  for (const listener of listeners) listener();
}

/** Goes to an address of the same page without loading it anew. A failure is told by loading it after all. */
export async function goTo(address: string, remember: "push" | "replace"): Promise<void> {
  if (remember === "push") history.pushState(null, "", address);
  else history.replaceState(null, "", address);
  try {
    await readPage(address);
  } catch {
    location.assign(address);
  }
}
