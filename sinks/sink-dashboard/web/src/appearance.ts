// The switch between the system's theme, light and dark.

import { chooseTheme, chosenTheme, nextTheme } from "./preference";

export function startAppearance(changed: () => void): void {
  const button = document.querySelector<HTMLButtonElement>("[data-theme-switch]");
  if (button) {
    const label = () => {
      button.textContent = `Theme: ${chosenTheme()}`;
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      chooseTheme(nextTheme(chosenTheme()));
      label();
      changed();
    });
    label();
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}
