// The pages' script: everything here makes a page that already works more comfortable.

import { startAnnouncing } from "./announce";
import { startAppearance } from "./appearance";
import { startClock } from "./clock";
import { followAddress, redrawGraphs, refreshGraphs, startGraphs, startPrinting } from "./graphs";
import { forgetFilters, startLists } from "./lists";
import { onLive, startLive } from "./live";
import { onContent, readHere } from "./refresh";
import { startRefusal } from "./refusal";
import { startTicking } from "./ticking";

document.documentElement.classList.add("has-scripts");
startAnnouncing();
startClock(redrawGraphs);
startAppearance(redrawGraphs);
startLists();
startGraphs();
startPrinting();
onContent(startGraphs);
onLive(refreshGraphs);
if (document.body.dataset.final === undefined) {
  startTicking();
  startLive();
  addEventListener("popstate", () => {
    followAddress();
    forgetFilters();
    void readHere();
  });
} else {
  startRefusal();
}
