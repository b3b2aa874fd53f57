// Sorting, searching and turning pages of a list without loading the page anew. The addresses are the server's own links.

import { announce } from "./announce";
import { goTo, onContent } from "./refresh";

const TYPING_PAUSE_MS = 200;

/** The reader went to another view of the list; what was entered belongs to the one before. */
let filtersAreOld = false;
let typing = 0;

export function forgetFilters(): void {
  filtersAreOld = true;
  clearTimeout(typing);
}

/** After turning a page: to the top of the table, with a word about where that is. */
function arrive(nav: Element): void {
  if (!nav.isConnected) return;
  const table = nav.previousElementSibling;
  if (table instanceof HTMLElement) {
    table.focus({ preventScroll: true });
    table.scrollIntoView({ block: "start" });
  }
  const place = nav.querySelector("[data-place]") ?? nav.closest("section")?.querySelector("h2");
  const words = place?.textContent ?? "";
  announce(words.charAt(0).toUpperCase() + words.slice(1));
}

export function startLists(): void {
  document.addEventListener("click", (event) => {
    if (
      event.defaultPrevented ||
      event.button !== 0 ||
      event.metaKey ||
      event.ctrlKey ||
      event.shiftKey ||
      event.altKey
    )
      return;
    const link =
      event.target instanceof Element
        ? event.target.closest<HTMLAnchorElement>("a[data-sort], a[data-turn]")
        : null;
    if (!link) return;
    event.preventDefault();
    const nav = link.closest(".turn");
    void goTo(link.href, "push").then((isThere) => {
      if (isThere && nav) arrive(nav);
    });
  });
  onContent(() => {
    if (!filtersAreOld) return;
    filtersAreOld = false;
    // The attributes are the server's; a control that was used does not follow them by itself.
    document.querySelector<HTMLFormElement>("[data-filters]")?.reset();
  });

  const ask = (form: HTMLFormElement, remember: "push" | "replace") => {
    clearTimeout(typing);
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      if (typeof value === "string" && value !== "") query.set(name, value);
    }
    const text = query.toString();
    void goTo(
      text ? `${form.getAttribute("action")}?${text}` : (form.getAttribute("action") ?? ""),
      remember,
    );
  };
  document.addEventListener("input", (event) => {
    const form =
      event.target instanceof HTMLInputElement
        ? event.target.closest<HTMLFormElement>("[data-filters]")
        : null;
    if (!form || !(event.target instanceof HTMLInputElement) || event.target.type !== "search") return;
    filtersAreOld = false;
    clearTimeout(typing);
    typing = setTimeout(() => ask(form, "replace"), TYPING_PAUSE_MS);
  });
  document.addEventListener("change", (event) => {
    const control = event.target instanceof HTMLElement ? event.target : null;
    const form = control?.closest<HTMLFormElement>("[data-filters]");
    if (!form || (control instanceof HTMLInputElement && control.type === "search")) return;
    filtersAreOld = false;
    ask(form, "push");
  });
  document.addEventListener("submit", (event) => {
    const form = event.target instanceof HTMLFormElement ? event.target : null;
    if (!form?.matches("[data-filters]")) return;
    event.preventDefault();
    ask(form, "push");
  });
}
