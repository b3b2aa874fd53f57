// Runs before the first paint: a choice of theme that was made earlier holds from the start.
import { applyTheme, chosenTheme } from "./preference";

applyTheme(chosenTheme());
