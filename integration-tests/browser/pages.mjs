// Every page over a pool of a thousand workers with hostile names among them, and a translator.
import assert from "node:assert/strict";
import AxeBuilder from "@axe-core/playwright";
import { base, close, open, run, until } from "./harness.mjs";

const POOL = "source=pool-eu-1";
const PAGES = {
  overview: `/?${POOL}`,
  "overview as a table": `/?${POOL}&view=table&range=6h`,
  workers: `/workers?${POOL}`,
  worker: `/worker?${POOL}&name=farm.rig-0001&kind=identity&range=6h`,
  connections: `/connections?${POOL}`,
  "more connections": `/connections?${POOL}&page=2`,
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
const drawn = (page) => page.locator("[data-graph][data-drawn] canvas").first().waitFor();
const known = (page) => page.locator('[data-key="found"]').textContent();

/** In the dark only the colours are others. */
async function violations(page, colorScheme) {
  const axe = new AxeBuilder({ page }).setLegacyMode();
  const { violations } = await (colorScheme === "dark" ? axe.withRules(["color-contrast"]) : axe).analyze();
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 200)} ${node.failureSummary}`));
}

await run({
  async "axe finds nothing on any page, light and dark"(browser) {
    const dark = ["overview", "workers", "quotes", "pipeline"];
    for (const colorScheme of ["light", "dark"]) {
      const opened = await open(browser, { colorScheme });
      const looked = Object.entries(PAGES).filter(([name]) => colorScheme === "light" || dark.includes(name));
      for (const [name, path] of looked) {
        const response = await opened.page.goto(base + path);
        assert.equal(response.status(), name === "not found" ? 404 : 200, name);
        if (await opened.page.locator("[data-plot]").count()) await drawn(opened.page);
        assert.deepEqual(await violations(opened.page, colorScheme), [], `${name}, ${colorScheme}`);
      }
      // The browser logs the one answer that is an error on purpose.
      const unexpected = opened.faults.filter((fault) => !/status of 404/.test(fault));
      opened.faults.splice(0, Number.POSITIVE_INFINITY, ...unexpected);
      await close(opened);
    }
  },

  async "no page scrolls sideways from 360 to 1440 px"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    for (const [name, path] of Object.entries(PAGES).filter(([name]) => name !== "not found")) {
      await page.goto(base + path);
      if (await page.locator("[data-plot]").count()) await drawn(page);
      for (const width of [360, 600, 900, 1440]) {
        await page.setViewportSize({ width, height: 800 });
        const over = await page.evaluate(async () => {
          await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
          const root = document.documentElement;
          return root.scrollWidth - root.clientWidth;
        });
        assert.ok(over <= 0, `${name} at ${width} px is ${over} px too wide`);
      }
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
    assert.equal(await page.evaluate(() => window.untouched), true, "the page was loaded once");

    const first = await names();
    await page.getByRole("link", { name: "Next" }).click();
    await until("the second page", async () => (await names())[0] !== first[0]);
    assert.match(page.url(), /page=2/);
    await close(opened);
  },

  async "a graph is zoomed by dragging, and its range is in the address"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await page.goto(`${base}/?${POOL}`);
    await drawn(page);
    const graph = page.locator("[data-graph]");
    const length = async () => Number(await graph.getAttribute("data-to")) - Number(await graph.getAttribute("data-from"));
    await page.getByRole("link", { name: "6h", exact: true }).click();
    await until("six hours", async () => (await graph.getAttribute("data-range")) === "6h");
    assert.match(page.url(), /range=6h/);
    const whole = await length();

    const box = await page.locator('[data-plot="hashrate"] .u-over').boundingBox();
    await page.mouse.move(box.x + box.width * 0.7, box.y + 50);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.8, box.y + 60, { steps: 5 });
    await page.mouse.move(box.x + box.width * 0.95, box.y + 60, { steps: 5 });
    await page.mouse.up();
    await until("the part", async () => (await length()) < whole / 3);
    assert.match(page.url(), /from=\d+&to=\d+/);
    assert.match(page.url(), /source=pool-eu-1/);
    assert.equal(await page.locator(".ranges [aria-current]").count(), 0);

    const zoomed = page.url();
    await page.goBack();
    await until("six hours again", async () => (await graph.getAttribute("data-range")) === "6h");
    await page.goto(zoomed);
    await drawn(page);
    await until("the part, from its address", async () => (await length()) < whole / 3);
    await close(opened);
  },

  async "without a range in its address a graph shows the shortest that holds the history"(browser) {
    for (const javaScriptEnabled of [true, false]) {
      const opened = await open(browser, { javaScriptEnabled });
      const { page } = opened;
      const graph = page.locator("[data-graph]");
      const marked = () => page.locator(".ranges [aria-current]").textContent();
      const expected = { [`/?${POOL}`]: "6h", [PAGES.worker.replace("&range=6h", "")]: "6h", [PAGES["overview of the translator"]]: "15m" };
      for (const [path, range] of Object.entries({ ...expected, [`/?${POOL}&range=7d`]: "7d" })) {
        await page.goto(base + path);
        if (javaScriptEnabled) await drawn(page);
        assert.equal(await graph.getAttribute("data-range"), range, path);
        assert.equal(await marked(), range, path);
      }
      // The totals count the backlog, so they are since its beginning and not since it arrived.
      await page.goto(`${base}/?${POOL}`);
      const since = Number(await page.locator("#totals time").getAttribute("data-ms"));
      assert.ok(Date.now() - since > 7_000_000, `totals since ${new Date(since).toISOString()}`);
      if (javaScriptEnabled) {
        await page.goto(`${base}/?${POOL}`);
        await drawn(page);
        await page.getByRole("link", { name: "1h", exact: true }).click();
        await until("one hour", async () => (await marked()) === "1h");
        await page.goBack();
        await until("the usual range", async () => (await marked()) === "6h");
        assert.doesNotMatch(page.url(), /range=/);
      }
      await close(opened);
    }
  },

  async "every open connection is on some page of the list, without scripts too"(browser) {
    const opened = await open(browser, { javaScriptEnabled: false });
    const { page } = opened;
    await page.goto(`${base}/connections?${POOL}`);
    const downstreams = page.getByRole("region", { name: "Table: Downstreams" }).locator("tbody tr");
    assert.equal(await downstreams.count(), 1);
    assert.match(await downstreams.textContent(), /192\.0\.2\.9:41000.*<b>vendor<\/b> 2.*1,008: 1, 2, 3, 4 and 1,004 more/);
    const table = page.getByRole("region", { name: "Table: open channels" });
    const names = new Set();
    for (let pages = 1; ; pages++) {
      for (const name of await table.locator("tbody th a").allTextContents()) names.add(name);
      const next = page.getByRole("link", { name: "Next" });
      if ((await next.count()) === 0) {
        assert.equal(pages, Math.ceil(1008 / 25));
        break;
      }
      await next.click();
      await page.waitForURL(new RegExp(`page=${pages + 1}$`));
    }
    assert.equal(names.size, 1008);
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

  async "an older answer never overwrites a newer one"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await page.goto(`${base}/?${POOL}`);
    await drawn(page);
    let held;
    await page.route(/\/graph\?.*range=7d/, async (route) => {
      held = route;
    });
    await page.getByRole("link", { name: "7d", exact: true }).click();
    await until("the slow question", () => held);
    await page.getByRole("link", { name: "1h", exact: true }).click();
    const graph = page.locator("[data-graph]");
    await until("the newer answer", async () => (await graph.getAttribute("data-range")) === "1h");
    await held.continue().catch(() => {});
    await page.waitForLoadState("networkidle").catch(() => {});
    assert.equal(await graph.getAttribute("data-range"), "1h");
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
    for (const name of ["1h", "6h", "1y", "Table", "hashrate"]) assert.ok(reached.has(name), `${name} was reached`);
    await until("the range", async () => /range=6h/.test(page.url()));
    const graph = page.locator("[data-graph]");
    await until("its data", async () => (await graph.getAttribute("data-range")) === "6h");
    await page.keyboard.press("End");
    await page.keyboard.press("ArrowLeft");
    await until("the point in words", async () => /accepted|no data|no share/.test(await page.locator("[data-readout]").textContent()));
    await page.keyboard.press("+");
    await until("the zoom", async () => /from=\d+/.test(page.url()));
    await page.keyboard.press("Escape");
    await until("the usual range", async () => /range=6h/.test(page.url()));
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
    const opened = await open(browser, { reducedMotion: "reduce" });
    const { page } = opened;
    await page.goto(`${base}/?${POOL}`);
    await drawn(page);
    const moving = await page.evaluate(() => {
      const elements = [...document.querySelectorAll("*")];
      const moves = (element) => {
        const style = getComputedStyle(element);
        return style.animationName !== "none" || style.transitionDuration.split(",").some((time) => Number.parseFloat(time) > 0);
      };
      return document.getAnimations().length + elements.filter(moves).length;
    });
    assert.equal(moving, 0);
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
