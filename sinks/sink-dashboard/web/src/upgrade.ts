// A page that stays open over an upgrade of the sidecar: this script is older than the pages that it reads then.

const SCRIPT = "script[defer][src]";
const KEPT = "loaded-anew-at";
const APART_MS = 60_000;

function scriptOf(page: Document): string | null {
  return page.querySelector(SCRIPT)?.getAttribute("src") ?? null;
}

/** Loads the page anew where it was made for another script, but not often: behind a proxy two builds may answer in turn. */
export function loadedAnew(made: Document): boolean {
  const wanted = scriptOf(made);
  if (wanted === null || wanted === scriptOf(document)) return false;
  try {
    const now = Date.now();
    // A clock that was set back must not keep the page old.
    if (Math.abs(now - Number(sessionStorage.getItem(KEPT))) < APART_MS) return false;
    sessionStorage.setItem(KEPT, String(now));
  } catch {
    // When it was done last cannot be remembered, so it is not done.
    return false;
  }
  location.reload();
  return true;
}
