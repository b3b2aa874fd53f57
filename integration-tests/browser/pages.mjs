// Every page over a pool of a thousand workers with hostile names among them, and a translator.
import assert from "node:assert/strict";
import { base, close, drawn, lookAt, open, run, until } from "./harness.mjs";

const POOL = "source=pool-eu-1";
const PAGES = {
  overview: `/?${POOL}`,
  "overview as a table": `/?${POOL}&view=table&range=6h`,
  workers: `/workers?${POOL}`,
  worker: `/worker?${POOL}&name=farm.rig-0001&kind=identity&range=6h`,
  connections: `/connections?${POOL}&page=2`,
  quotes: `/quotes?${POOL}`,
  blocks: `/blocks?${POOL}`,
  pipeline: `/pipeline?${POOL}`,
  connect: `/connect?${POOL}`,
  "overview of the translator": "/?source=translator-eu-1",
  "miners of the translator": "/workers?source=translator-eu-1",
  "not found": "/worker?name=nobody&kind=identity",
};
const HOSTILE = [
  "<img src=x onerror=window.pwned=1>",
  '"><script>window.pwned=2</script>',
  "{{window.pwned=3}}' onmouseover='window.pwned=4",
  "\u{202e}gnp.renim\u{202c}",
  "مُنَقِّب.العامل",
  "⛏️🔥👩‍🚀",
  "w".repeat(255),
  "a&b=c#d?e/../f%00",
];

/** Control and direction characters are shown as such. */
const visible = (name) => name.replace(/[\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu, "\ufffd");
const known = (page) => page.locator('[data-key="found"]').textContent();

await run({
  async "axe finds nothing on any page, light and dark, and none scrolls sideways from 360 to 1440 px"(browser) {
    // The browser logs the one answer that is an error on purpose.
    const opened = await open(browser, { provoked: /status of 404/ });
    for (const [name, path] of Object.entries(PAGES)) {
      const response = await opened.page.goto(base + path);
      assert.equal(response.status(), name === "not found" ? 404 : 200, name);
      await lookAt(opened.page, name);
    }
    await close(opened);
  },

  async "names from the network stay text"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    for (const name of HOSTILE) {
      await page.goto(`${base}/workers?${POOL}&q=${encodeURIComponent(name)}`);
      const link = page.locator(".workers tbody th a");
      assert.equal(await link.count(), 1, `found: ${name}`);
      assert.equal((await link.textContent()).trim(), visible(name));
      assert.equal(await link.locator("bdi").count(), 1, "isolated from the direction of what is around it");
      await link.click();
      assert.equal((await page.locator("h1").textContent()).trim(), visible(name));
      await drawn(page);
    }
    await page.goto(`${base}/quotes?${POOL}`);
    await page.goto(`${base}/blocks?${POOL}`);
    await page.goto(`${base}/connections?${POOL}`);
    assert.ok((await page.content()).includes("&lt;b&gt;vendor&lt;/b&gt;"));
    assert.equal(await page.evaluate(() => window.pwned), undefined);
    await close(opened);
  },

  async "the list is sorted, searched, hidden and turned without loading the page anew"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await page.goto(`${base}/workers?${POOL}`);
    await page.evaluate(() => {
      window.untouched = true;
    });
    assert.match(await known(page), /1,008 known/);
    const names = () => page.locator(".workers tbody th a").allTextContents();
    await page.getByRole("link", { name: "Worker", exact: true }).click();
    await until("the first name", async () => (await names())[0] === '"><script>window.pwned=2</script>');
    assert.match(page.url(), /sort=name/);
    assert.equal(await page.locator('th[aria-sort="ascending"]').count(), 1);
    await page.getByRole("link", { name: "Worker", exact: true }).click();
    await until("the other order", async () => (await page.locator('th[aria-sort="descending"]').count()) === 1);
    assert.notEqual((await names())[0], '"><script>window.pwned=2</script>');

    await page.getByRole("searchbox", { name: "Name" }).pressSequentially("rig-001", { delay: 30 });
    await until("ten rows", async () => (await names()).length === 10);
    assert.match(page.url(), /q=rig-001/);
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("name")), "q", "the focus stays");
    await page.getByRole("searchbox", { name: "Name" }).fill("");
    await until("a full page", async () => (await names()).length === 50);

    const all = await known(page);
    await page.getByRole("combobox").selectOption("15m");
    await page.getByRole("checkbox", { name: "Hide silent ones" }).check();
    await until("fewer rows", async () => (await known(page)) !== all && /of 1,008 known/.test(await known(page)));
    assert.match(page.url(), /hide=silent/);
    await page.goBack();
    await until("all again", async () => /^1,008 known/.test((await known(page)).trim()));
    const controls = () =>
      page.evaluate(() => {
        const { q, window, hide } = document.querySelector("[data-filters]").elements;
        return [q.value, window.value, hide.checked].join();
      });
    assert.equal(await controls(), ",15m,false", "the controls say what the list is");
    await page.goBack();
    await until("the window before", async () => (await controls()) === ",1h,false");
    assert.equal(await page.evaluate(() => window.untouched), true, "the page was loaded once");

    const first = await names();
    await page.getByRole("link", { name: "Next" }).click();
    await until("the second page", async () => (await names())[0] !== first[0]);
    assert.match(page.url(), /page=2/);
    await until("the word for it", async () => (await page.locator("[role=status].visually-hidden").textContent()) === "Page 2 of 21");
    const place = await page.evaluate(() => {
      const { activeElement } = document;
      return [activeElement.getAttribute("aria-label"), Math.abs(activeElement.getBoundingClientRect().top) < 2].join();
    });
    assert.equal(place, "Table: workers,true", "the top of the table");
    await close(opened);
  },

  async "what is typed after going back is not taken away by the list that comes"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await page.clock.install();
    await page.goto(`${base}/workers?${POOL}`);
    await page.getByRole("combobox").selectOption("15m");
    await until("the window", () => /window=15m/.test(page.url()));
    const before = /\/workers\?(?!.*window=)/;
    let held;
    await page.route(before, (route) => {
      held = route;
    });
    await page.clock.pauseAt(Date.now() + 3_600_000);
    await page.goBack();
    await until("the question", () => held);
    const name = page.getByRole("searchbox", { name: "Name" });
    await name.pressSequentially("rig-001");
    await held.continue();
    await page.unroute(before);
    await until("the list before", async () => /Hashrate, 1h/.test(await page.locator(".workers thead").textContent()));
    assert.equal(await name.inputValue(), "rig-001");
    await page.clock.runFor(1_000);
    await until("ten rows", async () => (await page.locator(".workers tbody tr").count()) === 10);
    await close(opened);
  },

  async "a phone shows what a list is about"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    for (const width of [360, 1440]) {
      await page.setViewportSize({ width, height: 800 });
      for (const [source, table] of [["pool-eu-1", "Table: Downstreams"], ["translator-eu-1", "Table: open miners"]]) {
        await page.goto(`${base}/connections?source=${source}`);
        const row = await page.getByRole("region", { name: table }).locator("tbody tr").first().evaluate((row) => row.innerText);
        assert.equal(row.match(/declared \S+ .H\/s/g)?.length ?? 0, width === 360 ? 1 : 0, `${table} at ${width} px: ${row}`);
      }
      await page.goto(`${base}/blocks?${POOL}`);
      const effort = await page.getByRole("columnheader", { name: "Effort" }).boundingBox();
      assert.ok(effort.x + effort.width <= width, `Effort ends at ${effort.x + effort.width} of ${width} px`);
    }
    await close(opened);
  },

  async "every open connection is on some page of the list, without scripts too"(browser) {
    const opened = await open(browser, { javaScriptEnabled: false });
    const { page } = opened;
    await page.goto(`${base}/connections?${POOL}`);
    const downstreams = page.getByRole("region", { name: "Table: Downstreams" }).locator("tbody tr");
    assert.equal(await downstreams.count(), 1);
    assert.match(await downstreams.textContent(), /192\.0\.2\.9:41000.*<b>vendor<\/b> 2.*1,008: 1, 2, 3, 4 and 1,004 more/);
    const table = page.getByRole("region", { name: "Table: open channels" });
    const workers = new Set();
    // Only the first step is a click: links are followed faster by asking for them.
    let [pages, next] = [0, new URL(page.url()).pathname + new URL(page.url()).search];
    for (; next; pages++) {
      const made = await (await page.request.get(base + next)).text();
      const rows = made.split('aria-label="Table: open channels"')[1].split("</table>")[0];
      for (const [, worker] of rows.matchAll(/<th scope="row"><a class="name" href="([^"]+)"/g)) workers.add(worker);
      next = made.match(/<a href="([^"]+)"[^>]* rel="next"/)?.[1].replaceAll("&amp;", "&");
    }
    assert.deepEqual([workers.size, pages], [1008, Math.ceil(1008 / 25)]);
    await page.getByRole("link", { name: "Next" }).click();
    await page.waitForURL(/page=2$/);
    assert.equal(await table.locator("tbody th a").count(), 25);
    for (const section of ["downstreams", "channels"]) {
      const link = page.locator(`[aria-labelledby=${section}] a[download]`);
      const file = await page.request.get(base + (await link.getAttribute("href")));
      assert.match(file.headers()["content-type"], /text\/csv/);
      assert.equal((await file.text()).trim().split("\n").length, 1 + (section === "channels" ? 1008 : 1));
    }
    await close(opened);

    const scripted = await open(browser);
    await scripted.page.goto(`${base}/connections?${POOL}`);
    await scripted.page.evaluate(() => {
      window.untouched = true;
    });
    await scripted.page.getByRole("link", { name: "Next" }).click();
    await until("the second page", async () => /page 2 of 41/.test(await scripted.page.locator("nav.turn").textContent()));
    assert.match(scripted.page.url(), /page=2/);
    assert.equal(await scripted.page.evaluate(() => window.untouched), true, "the page was loaded once");
    await close(scripted);
  },

  async "a dead letter tells what it was and why"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await page.goto(`${base}/pipeline?${POOL}`);
    const letters = page.getByRole("region", { name: "Table: Dead letters" }).locator("tbody tr");
    const ours = letters.filter({ hasText: "pool-eu-1" });
    assert.equal(await ours.count(), 1);
    assert.match(await ours.textContent(), /heartbeat.*at \(ingest\).*payload ends.*number [\d,]+ of session [0-9a-f]{16}/);
    await ours.getByText("Contents").click();
    assert.match(await ours.locator("code").textContent(), /^[0-9a-f]+$/);
    const sinks = page.getByRole("region", { name: "Table: Sinks" });
    assert.match(await sinks.textContent(), /up to date/);
    await close(opened);
  },

  async "everything can be done with the keyboard alone"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await page.goto(`${base}/?${POOL}`);
    await drawn(page);
    const focused = () => page.evaluate(() => document.activeElement.textContent.trim());
    await page.keyboard.press("Tab");
    assert.equal(await focused(), "Skip to the content");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => location.hash), "#content");
    // From the content on, everything that can be reached says where it is.
    const reached = new Set();
    for (let step = 0; step < 40; step++) {
      await page.keyboard.press("Tab");
      const seen = await page.evaluate(() => {
        const element = document.activeElement;
        const { outlineStyle, outlineWidth } = getComputedStyle(element);
        const plot = element.closest("[data-plot]")?.dataset.plot;
        return { name: plot ?? element.textContent.trim(), outlined: outlineStyle !== "none" && outlineWidth !== "0px" };
      });
      assert.ok(seen.outlined || seen.name === "", `the focus is visible on ${seen.name}`);
      reached.add(seen.name);
      if (seen.name === "6h") await page.keyboard.press("Enter");
      if (seen.name === "hashrate") break;
    }
    for (const name of ["1h", "6h", "1y", "\u2212", "+", "Table", "hashrate"]) assert.ok(reached.has(name), `${name} was reached`);
    await until("the range", async () => /range=6h/.test(page.url()));
    const graph = page.locator("[data-graph]");
    await until("its data", async () => (await graph.getAttribute("data-range")) === "6h");
    await page.keyboard.press("End");
    await page.keyboard.press("ArrowLeft");
    await until("the point in words", async () => /accepted|no data|no share/.test(await page.locator("[data-readout]").textContent()));
    await page.keyboard.press("+");
    await until("the zoom", async () => /from=\d+/.test(page.url()));
    await page.keyboard.press("Escape");
    await until("the usual range", async () => !/range=|from=/.test(page.url()) && (await graph.getAttribute("data-range")) === "6h");
    await close(opened);
  },

  async "lists and switches can be used with the keyboard alone"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await page.goto(`${base}/workers?${POOL}`);
    /** Goes on with Tab to what has this name, which then shows that it has the focus. */
    const reach = async (name) => {
      for (let step = 0; step < 150; step++) {
        await page.keyboard.press("Tab");
        const seen = await page.evaluate(() => {
          const { activeElement } = document;
          const { outlineStyle, outlineWidth } = getComputedStyle(activeElement);
          const name = activeElement.getAttribute("aria-label") ?? activeElement.getAttribute("name") ?? activeElement.textContent.trim();
          return { name, outlined: outlineStyle !== "none" && outlineWidth !== "0px" };
        });
        if (!name.test(seen.name)) continue;
        assert.ok(seen.outlined, `the focus is visible on ${seen.name}`);
        return;
      }
      assert.fail(`${name} was not reached`);
    };
    const names = () => page.locator(".workers tbody th a").allTextContents();

    await reach(/^Times in/);
    await page.keyboard.press("Enter");
    assert.match(await page.locator("[data-zone-switch]").textContent(), /UTC/);
    await reach(/^Theme: auto$/);
    await page.keyboard.press("Space");
    assert.equal(await page.locator("html").getAttribute("data-theme"), "light");

    await reach(/^q$/);
    await page.keyboard.type("rig-001");
    await until("ten rows", async () => (await names()).length === 10);
    await page.keyboard.press("Control+A");
    await page.keyboard.press("Delete");
    await until("a full page", async () => (await names()).length === 50);
    await reach(/^window$/);
    await page.keyboard.press("ArrowUp");
    await until("the window", () => /window=15m/.test(page.url()));
    await reach(/^hide$/);
    await page.keyboard.press("Space");
    await until("fewer rows", async () => /of 1,008 known/.test(await known(page)));
    await page.keyboard.press("Space");
    await until("all rows", async () => !/of 1,008 known/.test(await known(page)));
    await reach(/^Worker$/);
    await page.keyboard.press("Enter");
    await until("the order", async () => (await page.locator('th[aria-sort="ascending"]').count()) === 1);
    const first = await names();
    await reach(/^Next$/);
    await page.keyboard.press("Enter");
    await until("the second page", async () => (await names())[0] !== first[0]);
    // From the top of its table on.
    const second = (await names())[0].trim();
    await reach(new RegExp(`^${second}$`));
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/worker\?/);
    assert.equal((await page.locator("h1").textContent()).trim(), second);
    await close(opened);
  },

  async "without scripts the pages say the same"(browser) {
    const opened = await open(browser, { javaScriptEnabled: false });
    const { page } = opened;
    await page.goto(`${base}/?${POOL}&range=6h`);
    const line = await page.locator('[data-plot="hashrate"] path.line').getAttribute("d");
    assert.ok(line.length > 100, "the server drew the line");
    assert.ok((await page.locator('[data-plot="hashrate"] path.gap').getAttribute("d")).length > 10, "and the gap before the first event");
    assert.match(await page.locator('[data-key="accepted"]').textContent(), /19,600/);
    assert.match(await page.locator(".link-state").textContent(), /Made \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/);
    assert.equal(await page.getByRole("button").count(), 0, "no switch that does nothing");
    await page.getByRole("link", { name: "Table", exact: true }).click();
    assert.ok((await page.locator("[data-graph-values] tbody tr").count()) > 50);
    assert.equal(await page.getByRole("region", { name: "Table: Marks of the graphs" }).locator("tbody tr").count(), 2);
    await page.getByRole("link", { name: "Workers", exact: true }).click();
    await page.getByRole("link", { name: "Last share", exact: true }).click();
    assert.match(page.url(), /sort=last/);
    await page.getByRole("searchbox", { name: "Name" }).fill("RIG-0007");
    await page.getByRole("button", { name: "Show" }).click();
    assert.match(await known(page), /1 of 1,008 known/);
    assert.match(page.url(), /sort=last/, "the order outlives the search");
    assert.equal(await page.locator(".workers svg.spark").count(), 1);
    await close(opened);
  },

  async "the theme follows the system until it is chosen, and the choice is kept"(browser) {
    const opened = await open(browser, { colorScheme: "dark" });
    const { page } = opened;
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    await page.goto(`${base}/?${POOL}`);
    const dark = await ground();
    await page.emulateMedia({ colorScheme: "light" });
    const light = await ground();
    assert.notEqual(dark, light);
    await page.getByRole("button", { name: "Theme: auto" }).click();
    await page.getByRole("button", { name: "Theme: light" }).click();
    assert.equal(await ground(), dark, "dark by choice on a light system");
    await page.reload();
    assert.equal(await ground(), dark);
    assert.equal(await page.getByRole("button", { name: "Theme: dark" }).count(), 1);
    await close(opened);
  },

  async "times are local or UTC by choice"(browser) {
    const opened = await open(browser, { timezoneId: "Pacific/Kiritimati" });
    const { page } = opened;
    await page.goto(`${base}/blocks?${POOL}`);
    const cell = page.locator("tbody tr").first().locator("td.wide time");
    const stamp = (await cell.getAttribute("datetime")).slice(0, 19).replace("T", " ");
    assert.notEqual(await cell.textContent(), stamp, "fourteen hours away");
    await page.getByRole("button", { name: /Times in/ }).click();
    assert.equal(await cell.textContent(), stamp);
    await close(opened);
  },

  async "nothing moves where that is not wanted"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await page.goto(`${base}/?${POOL}`);
    // Nothing moves at all as yet; whatever comes to do so is held.
    const moves = () =>
      page.evaluate(() => {
        const { style } = document.querySelector("h1");
        style.transition = "color 9s";
        style.animation = "9s some";
        const { animationName, transitionDuration } = getComputedStyle(document.querySelector("h1"));
        return `${animationName} ${transitionDuration}`;
      });
    assert.equal(await moves(), "some 9s");
    await page.emulateMedia({ reducedMotion: "reduce" });
    assert.equal(await moves(), "none 0s");
    await close(opened);
  },

  async "on paper nothing is cut off"(browser) {
    const opened = await open(browser, { colorScheme: "dark", viewport: { width: 718, height: 1000 } });
    const { page } = opened;
    for (const name of ["overview", "overview as a table", "workers", "worker", "connections", "quotes", "blocks", "pipeline"]) {
      await page.goto(base + PAGES[name]);
      await drawn(page);
      await page.emulateMedia({ media: "print" });
      const seen = await page.evaluate(() => ({
        cut: [...document.querySelectorAll(".frame")].filter((frame) => frame.scrollWidth > frame.clientWidth).map((frame) => frame.ariaLabel),
        left: [...document.querySelectorAll(".wide")].filter((part) => getComputedStyle(part).display === "none").length,
        over: Math.max(document.documentElement.scrollWidth - document.documentElement.clientWidth, 0),
        pressed: [...document.querySelectorAll("button, nav, .button")].filter((part) => part.checkVisibility()).map((part) => part.outerHTML),
        ground: getComputedStyle(document.documentElement).backgroundColor,
      }));
      assert.deepEqual({ ...seen, ground: "" }, { cut: [], left: 0, over: 0, pressed: [], ground: "" }, name);
      assert.match(seen.ground, /rgb\(2\d\d, 2\d\d, 2\d\d\)/, "ink on white");
      await page.emulateMedia({ media: null });
    }
    // What scripts draw has the width and the colours of paper, on a page that is printed as well as on one that looks like it.
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.addInitScript(() => {
      window.strokes = [];
      const { stroke } = CanvasRenderingContext2D.prototype;
      CanvasRenderingContext2D.prototype.stroke = function (...what) {
        window.strokes.push([matchMedia("print").matches, this.strokeStyle, this.canvas.width]);
        return stroke.apply(this, what);
      };
    });
    const [light, dark] = ["#0f5c55", "#62c9ba"];
    await page.goto(base + PAGES.overview);
    await drawn(page);
    const strokes = async (onPaper) => (await page.evaluate(() => window.strokes)).filter(([paper]) => paper === onPaper);
    const colors = (strokes) => new Set(strokes.map(([, color]) => color));
    const screen = await strokes(false);
    assert.ok(colors(screen).has(dark) && !colors(screen).has(light), [...colors(screen)].join(" "));
    await page.pdf({ format: "A4" });
    const paper = await strokes(true);
    assert.ok(colors(paper).has(light) && !colors(paper).has(dark), [...colors(paper)].join(" "));
    for (const [, , width] of paper) assert.ok(width < 800, `a drawing of ${width} px on A4`);
    await page.evaluate(() => {
      window.strokes = [];
    });
    // Where a copy is printed nothing else tells; afterwards the screen is as it was.
    for (const [event, color] of [["beforeprint", light], ["afterprint", dark]]) {
      await page.evaluate((event) => {
        window.strokes = [];
        dispatchEvent(new Event(event));
      }, event);
      await until(`${color} ${event}`, async () => colors(await strokes(false)).has(color));
    }
    await close(opened);
  },

  async "the first page is small, and assets are kept for ever"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    const answers = [];
    page.on("response", (response) => answers.push(response));
    const first = await page.goto(`${base}/?${POOL}`);
    await drawn(page);
    const html = (await first.body()).length;
    assert.ok(html <= 30_000, `the first HTML has ${html} bytes`);
    const assets = answers.filter((response) => response.url().includes("/assets/"));
    assert.ok(assets.length >= 3);
    for (const asset of assets) {
      const headers = await asset.allHeaders();
      assert.match(headers["cache-control"], /immutable/);
      assert.match(headers["content-encoding"], /br|gzip/);
      assert.match(asset.url(), /-[A-Z0-9]{8}\.(js|css|svg)$/);
    }
    await close(opened);
  },
});
