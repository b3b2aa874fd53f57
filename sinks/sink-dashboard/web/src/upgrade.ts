// A page that stays open over an upgrade of the sidecar: this script is older than the pages that it reads then.

const SCRIPT = "script[defer][src]";
const KEPT = "loaded-for";

function scriptOf(page: Document): string | null {
  return page.querySelector(SCRIPT)?.getAttribute("src") ?? null;
}

/** Loads the page anew where it was made for another script, once for each: behind a proxy two builds may answer in turn. */
export function loadedAnew(made: Document): boolean {
  const wanted = scriptOf(made);
  if (wanted === null || wanted === scriptOf(document)) return false;
  try {
    if (sessionStorage.getItem(KEPT) === wanted) return false;
    sessionStorage.setItem(KEPT, wanted);
  } catch {
    // Whether it was done before cannot be remembered, so it is not done.
    return false;
  }
  location.reload();
  return true;
}
