// The pages' script: everything here makes a page that already works more comfortable.

import { startAppearance } from "./appearance";
import { startClock } from "./clock";
import { followAddress, redrawGraphs, refreshGraphs, startGraphs } from "./graphs";
import { startLists } from "./lists";
import { onLive, startLive } from "./live";
import { onContent, readPage } from "./refresh";

document.documentElement.classList.add("has-scripts");
startClock(redrawGraphs);
startAppearance(redrawGraphs);
startLists();
startGraphs();
onContent(startGraphs);
onLive(refreshGraphs);
startLive();
addEventListener("popstate", () => {
  followAddress();
  readPage(location.href).catch(() => location.reload());
});
