// The graphs, over a pool with a history of two hours, a translator, and a source that was started anew.
import assert from "node:assert/strict";
import { base, close, drawn, open, playStream, run, until } from "./harness.mjs";

const POOL = "source=pool-eu-1";
const WORKER = `/worker?${POOL}&name=farm.rig-0001&kind=identity`;
const TRANSLATOR = "/?source=translator-eu-1";
const MIXED = "/?source=mixed-eu-1";

await run({
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
      const expected = { [`/?${POOL}`]: "6h", [WORKER]: "6h", [TRANSLATOR]: "15m" };
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

  async "a page that stays open follows the range that is usual"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await page.clock.install();
    await page.goto(`${base}/?${POOL}`);
    await drawn(page);
    assert.equal(await page.locator("[data-graph]").getAttribute("data-range"), "6h");
    const asked = [];
    await page.route("**/graph?*", async (route) => {
      asked.push(route.request().url());
      const response = await route.fetch();
      const data = await response.json();
      await route.fulfill({ response, json: { ...data, range: "24h", from_ms: data.to_ms - 86_400_000 } });
    });
    await page.clock.fastForward(30_000);
    await until("the longer range", async () => (await page.locator(".ranges [aria-current]").textContent()) === "24h");
    assert.equal(await page.locator("[data-graph]").getAttribute("data-range"), "24h");
    for (const address of asked) assert.doesNotMatch(address, /range=/, "the server chooses");
    assert.doesNotMatch(page.url(), /range=/);
    await close(opened);
  },

  async "a graph that cannot be read says so and is read again"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await page.clock.install();
    await page.goto(`${base}/?${POOL}`);
    await drawn(page);
    const graph = page.locator("[data-graph]");
    const readout = () => page.locator("[data-readout]").textContent();
    const strength = () => page.locator('[data-plot="hashrate"]').evaluate((canvas) => Number(getComputedStyle(canvas).opacity));
    const marked = () => page.locator(".ranges [aria-current]").textContent();
    const cut = () => page.route("**/graph?*", (route) => route.abort());
    const mend = async () => {
      await page.unroute("**/graph?*");
      await page.clock.fastForward(5_000);
    };

    await cut();
    await page.getByRole("link", { name: "7d", exact: true }).click();
    await until("the word for it", async () => /^7d could not be read; trying again\. 6h is still shown\.$/.test(await readout()));
    assert.ok((await strength()) < 1);
    assert.match(page.url(), /range=7d/);
    assert.equal(await marked(), "6h", "what is shown is marked");
    await mend();
    await until("what was asked for", async () => (await marked()) === "7d" && (await readout()) === "" && (await strength()) === 1);

    await cut();
    await page.getByRole("link", { name: "7d", exact: true }).click();
    await until("since when it is old", async () => /^No new data since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d; trying again\.$/.test(await readout()));
    await page.locator('[data-plot="hashrate"]').focus();
    await page.keyboard.press("+");
    await until("the word for it", async () => /^The selected range could not be read; trying again\. 7d is still shown\.$/.test(await readout()));
    await mend();
    await until("the part", async () => (await graph.getAttribute("data-range")) === "" && (await readout()) === "");
    assert.match(page.url(), /from=\d+/);
    await close(opened);
  },

  async "a graph that is refused says so and is not asked for again"(browser) {
    const opened = await open(browser, { provoked: /status of 404/ });
    const { page } = opened;
    const say = await playStream(page);
    await page.clock.install();
    await page.goto(`${base}/?${POOL}`);
    await drawn(page);
    let asked = 0;
    await page.route("**/graph?*", async (route) => {
      asked += 1;
      await route.fulfill({ status: 404, body: "gone" });
    });
    await page.getByRole("link", { name: "7d", exact: true }).click();
    const readout = () => page.locator("[data-readout]").textContent();
    await until("the word for it", async () => (await readout()) === "7d could not be read. 6h is still shown.");
    assert.equal(asked, 1);
    await page.clock.fastForward(60_000);
    await say("update", { at_ms: Date.now(), sources: [], history_error: null, workers: [], more_workers: 0 });
    // A question that was asked by then would be here before the answer to this one.
    await page.evaluate(() => fetch("/health").then((answer) => answer.text()));
    assert.equal(asked, 1);
    await page.unroute("**/graph?*");
    await page.getByRole("link", { name: "1h", exact: true }).click();
    await until("one hour", async () => (await page.locator(".ranges [aria-current]").textContent()) === "1h");
    assert.equal(await readout(), "");
    await close(opened);
  },

  async "what is zoomed in and out again goes on, and a range is one place to go back to"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await page.goto(`${base}/?${POOL}&range=6h`);
    await drawn(page);
    const range = () => page.locator("[data-graph]").getAttribute("data-range");
    const places = () => page.evaluate(() => history.length);
    await page.getByRole("button", { name: "Zoom in" }).click();
    await until("a part", async () => (await range()) === "");
    await page.getByRole("button", { name: "Zoom out" }).click();
    await until("the range by its name", async () => (await range()) === "6h");
    assert.match(page.url(), /range=6h$/);
    const before = await places();
    const answer = page.waitForResponse(/\/graph\?/);
    await page.getByRole("link", { name: "6h", exact: true }).click();
    await answer;
    assert.equal(await places(), before);
    await page.getByRole("link", { name: "1h", exact: true }).click();
    await until("another range", async () => (await range()) === "1h");
    assert.equal(await places(), before + 1);
    await close(opened);
  },

  async "a phone zooms with buttons, around what was touched"(browser) {
    const opened = await open(browser, { viewport: { width: 390, height: 844 }, hasTouch: true });
    const { page } = opened;
    await page.goto(`${base}/?${POOL}&range=6h`);
    await drawn(page);
    const graph = page.locator("[data-graph]");
    const ends = async () => [Number(await graph.getAttribute("data-from")), Number(await graph.getAttribute("data-to"))];
    const length = async () => (await ends()).reduce((from, to) => to - from);
    const [from, to] = await ends();
    // Ranges begin and end with a step.
    const about = async (expected) => Math.abs((await length()) / expected - 1) < 0.02;
    const middle = async () => (await ends()).reduce((from, to) => (from + to) / 2);
    await page.getByRole("button", { name: "Zoom in" }).tap();
    await until("half of it", () => about((to - from) / 2));
    assert.ok(Math.abs((await middle()) - (from + to) / 2) < (to - from) / 50, "around the middle");
    await page.getByRole("button", { name: "Zoom out" }).tap();
    await until("the whole", () => about(to - from));
    await page.locator('[data-plot="shares"]').scrollIntoViewIfNeeded();
    const box = await page.locator('[data-plot="shares"] .u-over').boundingBox();
    await page.touchscreen.tap(box.x + box.width / 4, box.y + box.height / 2);
    const touched = (await ends())[0] + (to - from) / 4;
    await page.getByRole("button", { name: "Zoom in" }).tap();
    await until("half of it again", () => about((to - from) / 2));
    assert.ok(Math.abs((await middle()) - touched) < (to - from) / 50, "around the place that was touched");
    for (let times = 0; times < 3; times++) {
      const before = await length();
      await page.getByRole("button", { name: "Zoom out" }).tap();
      await until("twice as much", () => about(before * 2));
    }
    assert.ok((await ends())[1] <= Date.now() + (await length()) / 50, "nothing of the future");
    await close(opened);
  },

  async "pointing at one plot points at the other"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await page.goto(`${base}/?${POOL}&range=6h`);
    await drawn(page);
    const places = () =>
      page.evaluate(() =>
        ["hashrate", "shares"].map((kind) => {
          const cursor = document.querySelector(`[data-plot="${kind}"] .u-cursor-x`);
          const over = document.querySelector(`[data-plot="${kind}"] .u-over`);
          return Math.round(cursor.getBoundingClientRect().x - over.getBoundingClientRect().x);
        }),
      );
    const box = await page.locator('[data-plot="hashrate"] .u-over').boundingBox();
    for (const part of [0.3, 0.8]) {
      const x = Math.round(box.width * part);
      await page.mouse.move(box.x + x, box.y + 40, { steps: 3 });
      await until(`both at ${x}`, async () => (await places()).every((place) => Math.abs(place - x) <= 2));
    }
    assert.match(await page.locator("[data-readout]").textContent(), /accepted|no data|no share/);
    await close(opened);
  },

  async "marks, band and table are there without scripts"(browser) {
    const opened = await open(browser, { javaScriptEnabled: false });
    const { page } = opened;
    await page.goto(`${base}/?${POOL}&range=6h`);
    const band = await page.locator('[data-plot="hashrate"] path.band').getAttribute("d");
    assert.ok(band.length > 100 && band.endsWith("Z"), band);
    for (const [path, kind, words] of [
      [`/?${POOL}&range=6h`, "block", /block 900,00[13] found/],
      [MIXED, "restart", /publisher started anew/],
      [MIXED, "outage", /3 events lost \(events-dropped\)/],
    ]) {
      await page.goto(base + path);
      for (const plot of ["hashrate", "shares"]) {
        const marks = await page.locator(`[data-plot="${plot}"] path.mark.is-${kind}`).getAttribute("d");
        for (const at of marks.split("M").slice(1)) assert.match(at, /^(\d|\d\d|\d\d\d|1[01]\d\d|1200),0V300$/, `inside of the drawing: ${marks}`);
      }
      await page.getByRole("link", { name: "Table", exact: true }).click();
      assert.match(await page.getByRole("region", { name: "Table: Marks of the graphs" }).textContent(), words);
    }
    // Each kind looks as the legend has it.
    await page.goto(base + MIXED);
    const looks = (of) =>
      page.evaluate((of) => {
        const { stroke, strokeDasharray } = getComputedStyle(document.querySelector(`.canvas .mark.is-${of}`));
        return { stroke, strokeDasharray };
      }, of);
    const legend = (of) => page.evaluate((of) => getComputedStyle(document.querySelector(`.legend .of-${of}`)).borderLeftColor, of);
    const [restart, outage] = [await looks("restart"), await looks("outage")];
    assert.deepEqual(outage, restart);
    assert.equal(outage.stroke, await legend("restart"));
    assert.notEqual(outage.stroke, await legend("block"));
    assert.notEqual(outage.strokeDasharray, "none");
    await close(opened);
  },

  async "UTC is UTC where the reader's own clock leaves an hour out"(browser) {
    const opened = await open(browser, { timezoneId: "Europe/Berlin" });
    const { page } = opened;
    await page.addInitScript(() => {
      window.labels = new Set();
      const { fillText } = CanvasRenderingContext2D.prototype;
      CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
        window.labels.add(text);
        return fillText.call(this, text, ...place);
      };
    });
    const [begin, hours] = [Date.parse("2026-03-28T22:00:00Z"), 6 * 3_600_000];
    await page.route("**/graph?*", async (route) => {
      const response = await route.fetch();
      const data = await response.json();
      const step_ms = hours / data.value.length;
      await route.fulfill({ response, json: { ...data, from_ms: begin, to_ms: begin + hours, step_ms } });
    });
    await page.goto(`${base}/?${POOL}&range=6h`);
    await drawn(page);
    const span = () => page.locator("[data-graph-span]").textContent();
    assert.match(await span(), /^2026-03-28 23:00:00 to 2026-03-29 06:00:00,/);
    const text = await page.evaluate(() => {
      const time = document.createElement("time");
      time.dataset.ms = String(Date.parse("2026-03-29T01:30:00Z"));
      document.querySelector(".foot").append(time);
      window.labels.clear();
      document.querySelector("[data-zone-switch]").click();
      return time.textContent;
    });
    assert.equal(text, "2026-03-29 01:30:00");
    assert.match(await span(), /^2026-03-28 22:00:00 to 2026-03-29 04:00:00,/, "the words beside the graph follow");
    const hoursOfUtc = ["23:00", "03-29", "01:00", "02:00", "03:00"];
    await until("every hour at the axis", () => page.evaluate((hours) => hours.every((hour) => window.labels.has(hour)), hoursOfUtc));
    await close(opened);
  },

  async "where the reader's system chooses the colours, the parts of a drawing keep theirs"(browser) {
    const parts = async (forcedColors, javaScriptEnabled) => {
      const opened = await open(browser, { colorScheme: "light", forcedColors, javaScriptEnabled });
      const { page } = opened;
      await page.addInitScript(() => {
        window.colors = new Set();
        for (const name of ["stroke", "fill", "fillRect"]) {
          const draw = CanvasRenderingContext2D.prototype[name];
          CanvasRenderingContext2D.prototype[name] = function (...where) {
            window.colors.add(name === "stroke" ? this.strokeStyle : this.fillStyle);
            return draw.apply(this, where);
          };
        }
      });
      await page.goto(`${base}/?${POOL}&range=6h`);
      if (javaScriptEnabled) await drawn(page);
      const styles = await page.evaluate(() => {
        const parts = {
          ".canvas": "backgroundColor",
          ".canvas .line": "stroke",
          ".canvas .band": "fill",
          ".canvas .gap": "fill",
          ".whisker .span": "stroke",
          ".legend i": "borderTopColor",
          ".legend .of-band": "backgroundColor",
          ".legend .of-rejected": "borderTopColor",
          ".legend .of-block": "borderLeftColor",
        };
        const color = ([selector, property]) => {
          const part = document.querySelector(selector);
          return part && getComputedStyle(part)[property];
        };
        return { ground: getComputedStyle(document.body.parentElement).backgroundColor, parts: Object.entries(parts).map(color) };
      });
      const drawing = javaScriptEnabled ? [...(await page.evaluate(() => [...window.colors]))].sort() : [];
      await close(opened);
      return { ...styles, drawing };
    };
    for (const javaScriptEnabled of [true, false]) {
      const [own, forced] = [await parts("none", javaScriptEnabled), await parts("active", javaScriptEnabled)];
      assert.notEqual(forced.ground, own.ground, "the rest of the page is as the reader's system wants it");
      assert.deepEqual(forced.parts, own.parts);
      assert.deepEqual(forced.drawing, own.drawing);
      assert.ok(!javaScriptEnabled || own.drawing.length >= 5, own.drawing.join(" "));
    }
  },
});
