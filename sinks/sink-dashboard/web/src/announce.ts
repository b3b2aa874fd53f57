// Words for those who do not see what changed.

let place: HTMLElement | null = null;

/** The place is there before anything comes into it: what comes is read out then. */
export function startAnnouncing(): void {
  place = document.createElement("p");
  place.className = "visually-hidden";
  place.setAttribute("role", "status");
  document.body.append(place);
}

export function announce(text: string): void {
  if (place) place.textContent = text;
}
