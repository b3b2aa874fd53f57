// Times on the page: in the reader's zone or in UTC, and ages that tick. The server's clock is the reference, since ages are
// about its events.

import { length } from "./numbers";
import { chooseZone, chosenZone } from "./preference";

let ahead = 0;

/** The server's time now, as far as the page knows it. */
export function serverNow(): number {
  return Date.now() - ahead;
}

/** Learns from a page or a message that was just made what time the server has. */
export function learnServerTime(now: number): void {
  if (now > 0) ahead = Date.now() - now;
}

export function twoDigits(number: number): string {
  return String(number).padStart(2, "0");
}

/** A date whose getters give the wall clock of the chosen zone. */
export function inZone(ms: number): Date {
  const date = new Date(ms);
  if (chosenZone() === "local") return date;
  return new Date(ms + date.getTimezoneOffset() * 60_000);
}

export function dayText(date: Date): string {
  return `${date.getFullYear()}-${twoDigits(date.getMonth() + 1)}-${twoDigits(date.getDate())}`;
}

export function timeText(date: Date, seconds = true): string {
  const text = `${twoDigits(date.getHours())}:${twoDigits(date.getMinutes())}`;
  return seconds ? `${text}:${twoDigits(date.getSeconds())}` : text;
}

function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Writes every time below `root` as the reader wants it. */
export function writeTimes(root: ParentNode = document): void {
  const now = serverNow();
  for (const time of root.querySelectorAll<HTMLTimeElement>("time[data-ms]")) {
    const ms = Number(time.dataset.ms);
    const date = inZone(ms);
    const full = `${dayText(date)} ${timeText(date)}`;
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
