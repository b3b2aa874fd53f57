// What the reader chose, kept in the browser: theme and time zone. Storage may be forbidden; then the choice lasts as long as the page.

export type Theme = "auto" | "light" | "dark";
export type Zone = "utc" | "local";

const THEMES: readonly Theme[] = ["auto", "light", "dark"];
const kept = new Map<string, string>();

function read(key: string): string | null {
  try {
    return localStorage.getItem(key) ?? kept.get(key) ?? null;
  } catch {
    return kept.get(key) ?? null;
  }
}

function write(key: string, value: string): void {
  kept.set(key, value);
  try {
    localStorage.setItem(key, value);
  } catch {
    // Kept for this page only.
  }
}

export function chosenTheme(): Theme {
  const stored = read("theme");
  return THEMES.find((theme) => theme === stored) ?? "auto";
}

export function chooseTheme(theme: Theme): void {
  write("theme", theme);
  applyTheme(theme);
}

export function nextTheme(theme: Theme): Theme {
  return THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "auto";
}

export function applyTheme(theme: Theme): void {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export function chosenZone(): Zone {
  return read("zone") === "utc" ? "utc" : "local";
}

export function chooseZone(zone: Zone): void {
  write("zone", zone);
}
