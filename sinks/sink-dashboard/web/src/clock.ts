// Times on the page: in the reader's zone or in UTC, and ages that tick. The server's clock is the reference, since ages are
// about its events.

import { length } from "./numbers";
import { chooseZone, chosenZone } from "./preference";

/** Times come from the network; texts have room up to the end of the year 9999. */
const LAST_MS = 253_402_300_799_000;

let ahead = 0;

/** The server's time now, as far as the page knows it. */
export function serverNow(): number {
  return Date.now() - ahead;
}

/** Learns from a page or a message that was just made what time the server has. */
export function learnServerTime(now: number): void {
  if (now > 0) ahead = Date.now() - now;
}

/** What the wall clock of the chosen zone shows. A date that is moved by the zone's offset would not do: there are hours in UTC
 * that the reader's own clock leaves out. */
function wallClock(ms: number): string {
  const date = new Date(Math.min(ms, LAST_MS));
  if (chosenZone() === "utc") return date.toISOString();
  const two = (number: number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day}T${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export function dayText(ms: number): string {
  return wallClock(ms).slice(0, 10);
}

export function timeText(ms: number, seconds = true): string {
  return wallClock(ms).slice(11, seconds ? 19 : 16);
}

export function momentText(ms: number): string {
  return `${dayText(ms)} ${timeText(ms)}`;
}

function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Writes every time below `root` as the reader wants it. */
export function writeTimes(root: ParentNode = document): void {
  const now = serverNow();
  for (const time of root.querySelectorAll<HTMLTimeElement>("time[data-ms]")) {
    const ms = Number(time.dataset.ms);
    const full = momentText(ms);
    if (time.dataset.ago === undefined) {
      setText(time, full);
    } else {
      setText(time, now >= ms ? `${length(now - ms)} ago` : "now");
      if (time.title !== full) time.title = full;
    }
  }
  const name = zoneName();
  for (const element of root.querySelectorAll("[data-zone-name]")) setText(element, name);
}

export function zoneName(): string {
  return chosenZone() === "utc" ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";
}

/** The switch between the two zones; `changed` is told after each change. */
export function startClock(changed: () => void): void {
  const button = document.querySelector<HTMLButtonElement>("[data-zone-switch]");
  const label = () => {
    if (!button) return;
    button.textContent = chosenZone() === "utc" ? "UTC" : "Local time";
    button.setAttribute("aria-label", `Times in ${zoneName()}; change`);
  };
  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => {
      chooseZone(chosenZone() === "utc" ? "local" : "utc");
      label();
      writeTimes();
      changed();
    });
  }
  label();
  writeTimes();
  setInterval(() => {
    if (!document.hidden) writeTimes();
  }, 1000);
}
