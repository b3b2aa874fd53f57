// A page that is opened before anything has connected, and follows what happens: the first event, shares, a restart of the
// sidecar, a feed that stops. The page is loaded once.
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { ask, base, close, drawn, hide, linkOf, lookAt, open, playStream, run, until, violations } from "./harness.mjs";

const PATHS = ["/workers", "/quotes", "/blocks", "/connections", "/pipeline", "/connect", "/"];

let opened;
const number = async (key) => Number((await opened.page.locator(`[data-key="${key}"] .figure`).textContent()).replaceAll(",", ""));
const link = () => linkOf(opened.page);
const untouched = async () => assert.equal(await opened.page.evaluate(() => window.untouched), true, "the page was loaded once");

async function more(what) {
  const before = await number("accepted");
  await until(`more shares ${what}`, async () => (await number("accepted")) > before);
}

await run({
  async "before anything has connected the pages say so"(browser) {
    opened = await open(browser);
    for (const path of PATHS) {
      const response = await opened.page.goto(base + path);
      assert.equal(response.status(), 200, path);
      await lookAt(opened.page, `${path} without a source`);
    }
    assert.match(await opened.page.locator("main").textContent(), /No pool and no translator has connected yet/);
    await opened.page.evaluate(() => {
      window.untouched = true;
    });
    await until("the stream", async () => (await link()) === "Live");
  },

  async "the first share and the next ones appear by themselves"() {
    await ask("start the feed");
    await until("the source", async () => (await opened.page.locator("[data-sources] tbody tr").count()) === 1);
    await until("the first share", async () => (await number("accepted")) > 0);
    await more("each second");
    await until("one channel", async () => (await number("online")) === 1);
    await drawn(opened.page);
    await untouched();
  },

  async "who is online ticks"(browser) {
    const other = await open(browser);
    // Whatever the page is told when it is read, the stream says what is so now.
    const wrong = [
      ['data-online="">1<', 'data-online="">7<'],
      ['<dt>Workers online</dt><dd><span class="figure">1<', '<dt>Workers online</dt><dd><span class="figure">7<'],
      ['data-channels="">1 channel<', 'data-channels="">7 channels<'],
      ['data-downstreams="">1 connection<', 'data-downstreams="">7 connections<'],
    ];
    await other.page.route(`${base}/`, async (route) => {
      const response = await route.fetch();
      const made = await response.text();
      for (const [right] of wrong) assert.ok(made.includes(right), `${right} in ${made}`);
      const body = wrong.reduce((text, [right, other]) => text.replace(right, other), made);
      await route.fulfill({ response, body });
    });
    await other.page.goto(`${base}/`);
    const shown = () =>
      other.page.evaluate(() =>
        ["[data-online]", "[data-key=online] .figure", "[data-channels]", "[data-downstreams]"].map(
          (selector) => document.querySelector(selector).textContent,
        ),
      );
    await until("the number of the stream", async () => (await shown()).join() === "1,1,1 channel,1 connection");
    await close(other);
  },

  async "a hashrate and what it rests on change together"() {
    // All from one moment: value, uncertainty with its shares, and interval, of the large number and of its window.
    const look = () =>
      opened.page.evaluate(() => {
        const text = (selector) => document.querySelector(selector).textContent.trim();
        const window = '.windows [data-key="15m"]';
        return {
          hero: [text(".hero-value"), text("[data-key=hero] .basis")].join(),
          window: [text(`${window} .reading`), text(`${window} .basis`)].join(),
          interval: text("[data-key=hero] .basis:last-child"),
          whisker: document.querySelector(`${window} svg`).getAttribute("aria-label"),
        };
      });
    const first = await look();
    const apart = [];
    await until("other shares", async () => {
      const now = await look();
      const isOne = now.hero === now.window && now.interval.replace("95 %: ", "") === now.whisker.replace("95 % interval ", "");
      if (!isOne) apart.push(now);
      return now.hero !== first.hero;
    });
    assert.deepEqual(apart, []);
    await untouched();
  },

  async "one worker looks right on every page"(browser) {
    const other = await open(browser);
    const { page } = other;
    await page.goto(`${base}/workers`);
    const worker = await page.locator(".workers tbody th a").getAttribute("href");
    // What is not here is looked at before anything has connected, or with all that a large pool has.
    for (const path of ["/", "/?view=table", "/workers", "/connections", worker, `${worker}&view=table`]) {
      await page.goto(base + path);
      await lookAt(page, `${path} with one worker`);
    }
    await close(other);
  },

  async "a graph as a table goes on by itself, and stays a table when its range changes"(browser) {
    const other = await open(browser);
    const { page } = other;
    await page.goto(`${base}/?view=table`);
    await page.evaluate(() => {
      window.untouched = true;
    });
    const newest = async () => Number(await page.locator("[data-graph-values] tbody tr").first().getAttribute("data-key"));
    const before = await newest();
    await until("a row of a later moment", async () => (await newest()) > before);
    assert.equal(await page.evaluate(() => window.untouched), true, "the page was loaded once");
    await page.getByRole("link", { name: "1h", exact: true }).click();
    await page.waitForURL(/range=1h/);
    assert.match(page.url(), /view=table/);
    assert.ok((await page.locator("[data-graph-values] tbody tr").count()) > 0);
    assert.equal(await page.locator("[data-plot]").count(), 0);
    await page.getByRole("link", { name: "Graph", exact: true }).click();
    await page.waitForURL((url) => !url.search.includes("view=") && url.search.includes("range=1h"));
    await drawn(page);
    await close(other);
  },

  async "a list of one worker ticks"(browser) {
    const other = await open(browser);
    await other.page.goto(`${base}/workers`);
    assert.equal(await other.page.locator(".workers tbody tr").count(), 1);
    const accepted = () => other.page.locator("[data-count]").getAttribute("data-count");
    const before = Number(await accepted());
    await until("its next share", async () => Number(await accepted()) > before);
    await close(other);
  },

  async "a share appears on the page of its worker by itself"(browser) {
    const other = await open(browser);
    const { page } = other;
    await page.goto(`${base}/workers`);
    await page.locator(".workers tbody th a").click();
    await page.waitForURL(/\/worker\?/);
    await page.evaluate(() => {
      window.untouched = true;
    });
    // Seconds old: what there is fills a good part of the graph.
    assert.equal(await page.locator("[data-graph]").getAttribute("data-range"), "5m");
    const latest = () => page.getByRole("region", { name: "Table: Latest shares" }).locator("time").first().getAttribute("data-ms");
    const accepted = async () => Number((await page.locator('[data-key="accepted"] .figure').textContent()).replaceAll(",", ""));
    const [share, before] = [Number(await latest()), await accepted()];
    await until("a later share in the list", async () => Number(await latest()) > share);
    await until("its count", async () => (await accepted()) > before);
    assert.equal(await page.evaluate(() => window.untouched), true, "the page was loaded once");
    await close(other);
  },

  async "content that cannot be read is stale, however well the stream works"(browser) {
    const other = await open(browser, { timezoneId: "UTC", provoked: /status of 503/ });
    const { page } = other;
    await playStream(page);
    await page.clock.install();
    await page.goto(`${base}/`);
    await until("the stream", async () => (await linkOf(page)) === "Live");
    const strong = await page.evaluate(() => getComputedStyle(document.querySelector(".hero-value")).color);
    let refused = 0;
    await page.route(`${base}/`, async (route) => {
      refused += 1;
      await route.fulfill({ status: 503, body: "busy" });
    });
    await until("a read that fails", async () => refused > 0);
    await until("the word for it", async () => (await linkOf(page)) === "Retrying");
    // The stream goes on speaking.
    await page.clock.runFor(10_000);
    await until("the word for it", async () => /^Stale since/.test(await linkOf(page)));
    assert.equal(await page.evaluate(() => window.streams), 1);
    const made = Number(await page.evaluate(() => document.body.dataset.now));
    assert.equal(await linkOf(page), `Stale since ${new Date(made).toISOString().slice(11, 19)}`);
    assert.notEqual(await page.evaluate(() => getComputedStyle(document.querySelector(".hero-value")).color), strong);
    await page.unroute(`${base}/`);
    await until("the content", async () => (await linkOf(page)) === "Live");
    await close(other);
  },

  async "a question that hangs does not keep the next ones waiting"(browser) {
    const other = await open(browser);
    const { page } = other;
    await page.clock.install();
    await page.goto(`${base}/`);
    await drawn(page);
    await until("the stream", async () => (await linkOf(page)) === "Live");
    for (const [what, address] of [["page", `${base}/`], ["graph", /\/graph(\?|$)/]]) {
      let asked = 0;
      await page.route(address, async (route) => {
        asked += 1;
        if (asked > 1) await route.continue();
      });
      await page.clock.fastForward(10_000);
      await until(`a question for the ${what}`, () => asked === 1);
      await page.clock.fastForward(16_000);
      await until(`another question for the ${what}`, () => asked > 1);
      await page.unroute(address);
    }
    await close(other);
  },

  async "a browser without the stream polls, and what a sidecar that does not answer said last loses its strength"(browser) {
    const other = await open(browser);
    const { page } = other;
    await page.clock.install();
    const look = () =>
      page.evaluate(() => ({
        color: getComputedStyle(document.querySelector(".hero-value")).color,
        row: getComputedStyle(document.querySelector("[data-sources] .health"), "::after").content,
        opacity: getComputedStyle(document.querySelector(".canvas")).opacity,
      }));
    // A stream that is open could not be cut from here.
    await page.route("**/api/v1/live*", (route) => route.abort());
    await page.goto(base);
    const accepted = async () => (await page.locator('[data-key="accepted"] .figure').textContent()).trim();
    const before = await accepted();
    await until("the poll", async () => {
      await page.clock.fastForward(5_000);
      return (await accepted()) !== before && /every 5 s/.test(await linkOf(page));
    });
    // A graph that is being read is weaker meanwhile.
    const strong = await until("its strength", async () => {
      const now = await look();
      return now.opacity === "1" && now;
    });
    assert.equal(strong.row, "none");
    await page.route("**/*", (route) => route.abort());
    await page.clock.fastForward(9_000);
    await until("the word for it", async () => /^Stale since/.test(await linkOf(page)));
    const weak = await look();
    assert.deepEqual(await violations(page), [], "without its strength");
    assert.match(weak.row, /when last heard/);
    assert.notEqual(weak.color, strong.color);
    assert.ok(Number(weak.opacity) < 1);
    await page.unroute("**/*");
    await page.clock.fastForward(5_000);
    await until("its strength again", async () => isDeepStrictEqual(await look(), strong));
    await close(other);
  },

  async "what stands above the page comes and goes without loading it anew"(browser) {
    const other = await open(browser);
    const { page } = other;
    await playStream(page);
    await page.clock.install();
    await page.goto(`${base}/workers`);
    await page.evaluate(() => {
      window.untouched = true;
      document.querySelector("[data-key=not-ready]").place = "the same";
    });
    const banner = () => page.evaluate(() => {
      const place = document.querySelector("[data-key=not-ready]");
      return [window.untouched, place.place, place.getAttribute("role"), place.textContent].join();
    });
    assert.equal(await banner(), "true,the same,status,");
    await page.route(`${base}/workers`, async (route) => {
      const response = await route.fetch();
      const made = await response.text();
      const body = made.replace('data-key="not-ready" role="status">', "$&<p>no space left</p>");
      assert.notEqual(body, made);
      await route.fulfill({ response, body });
    });
    // Its list is read every ten seconds.
    await page.clock.runFor(10_000);
    await until("the banner", async () => (await banner()) === "true,the same,status,no space left");
    await page.unroute(`${base}/workers`);
    await page.clock.runFor(10_000);
    await until("no banner", async () => (await banner()) === "true,the same,status,");
    await close(other);
  },

  async "a hidden tab asks nothing"(browser) {
    const other = await open(browser);
    const { page } = other;
    await page.addInitScript(() => {
      window.streams = [];
      window.EventSource = class extends EventSource {
        constructor(address) {
          super(address);
          window.streams.push(this);
        }
      };
    });
    await page.clock.install();
    await page.goto(base);
    await until("the stream", async () => (await linkOf(page)) === "Live");
    const openStreams = () => page.evaluate(() => window.streams.filter((stream) => stream.readyState !== EventSource.CLOSED).length);
    assert.equal(await openStreams(), 1);
    await hide(page, true);
    assert.equal(await linkOf(page), "Paused");
    assert.equal(await openStreams(), 0, "what is open brings messages without being asked");
    const asked = [];
    page.on("request", (request) => asked.push(request.url()));
    await page.clock.runFor(30_000);
    // What was asked by then was asked before this.
    await page.evaluate(() => fetch("/health").then((answer) => answer.text()));
    assert.deepEqual(asked, [`${base}/health`]);
    await hide(page, false);
    await until("the stream again", async () => (await linkOf(page)) === "Live");
    assert.equal(await openStreams(), 1);
    await close(other);
  },

  async "a tab that is shown again is as old as it was"(browser) {
    const other = await open(browser, { timezoneId: "UTC" });
    const { page } = other;
    await page.route("**/api/v1/live*", (route) => route.abort());
    await page.clock.install();
    await page.goto(base);
    await page.clock.fastForward(5_000);
    await until("the poll", async () => /every 5 s/.test(await linkOf(page)));
    await page.route("**/*", (route) => route.abort());
    await hide(page, true);
    const made = Number(await page.evaluate(() => document.body.dataset.now));
    await page.clock.fastForward(60_000);
    await hide(page, false);
    assert.doesNotMatch(await linkOf(page), /Live/);
    await page.clock.fastForward(9_000);
    await until("the word for it", async () => /^Stale since/.test(await linkOf(page)));
    assert.equal(await linkOf(page), `Stale since ${new Date(made).toISOString().slice(11, 19)}`);
    await close(other);
  },

  async "after a restart of the sidecar the page goes on"() {
    await ask("restart the sidecar");
    await until("the stream", async () => (await link()) === "Live");
    await more("after the restart");
    await untouched();
  },

  async "a feed that stops is stale, and never zero"() {
    const before = await number("accepted");
    await ask("stop the feed");
    const seen = new Set();
    const texts = () =>
      opened.page.evaluate(() => [...document.querySelectorAll(".hero-value, .windows .reading, [data-key=online] .figure")].map((e) => e.textContent.trim()));
    await until(
      "the word for it",
      async () => {
        for (const text of await texts()) seen.add(text);
        return /stale/.test(await opened.page.locator(".hero-value").textContent());
      },
      75,
    );
    for (const text of await texts()) seen.add(text);
    for (const text of seen) assert.doesNotMatch(text, /^0(\s|$)/, `a silent feed was shown as ${text}`);
    assert.ok((await number("accepted")) >= before, "totals stay");
    assert.match(await opened.page.locator("[data-sources] tbody tr").textContent(), /stale for/);
    assert.match(await opened.page.locator('[data-key="online"] .figure').textContent(), /was 1/);
    await until("the stream is not what is stale", async () => (await link()) === "Live");
    await untouched();
    // Elsewhere only the word in the heading is another one.
    for (const path of ["/", "/workers", "/connections"]) {
      await opened.page.goto(base + path);
      await lookAt(opened.page, `${path} of a stale source`);
    }
    await close(opened);
  },
});
