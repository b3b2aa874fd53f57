// A page that says why its address is refused. It would be refused as often as it is asked for, so nothing is read again.

export function startRefusal(): void {
  // There are no numbers on it that could be old.
  document.querySelector("[data-link-state]")?.remove();
  // An address that was refused after another one of the same page is left by going back to that one.
  const address = () => location.pathname + location.search;
  const refused = address();
  addEventListener("popstate", () => {
    if (address() !== refused) location.reload();
  });
}
