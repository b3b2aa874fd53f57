// What pages make of the stream and of answers that fail. The stream is the test's own, so that each message comes when it is
// wanted; the pages are the sidecar's.
import assert from "node:assert/strict";
import { base, close, linkOf, open, playStream, run, until } from "./harness.mjs";

const [POOL, MIXED] = ["pool-eu-1", "mixed-eu-1"];
const update = (about = {}) => ({ at_ms: Date.now(), sources: [], history_error: null, workers: [], more_workers: 0, ...about });

/** Tells a page something ten times a second for as long as it is open. */
const storm = (page, type, data) =>
  page.evaluate(([type, data]) => {
    setInterval(() => window.stream.dispatchEvent(new MessageEvent(type, { data: JSON.stringify(data) })), 100);
  }, [type, data]);

/** Lets the clock of a page that is not loaded yet stand still, and notes when the page reads its content by it. What is returned lets
 * time pass until so many reads were answered, and tells how long after its beginning they were. */
async function timed(page) {
  await page.clock.install();
  await page.clock.pauseAt(Date.now() + 1_000);
  await page.addInitScript(() => {
    window.begin = Date.now();
    window.reads = [];
    window.answered = 0;
    const { fetch } = window;
    window.fetch = async (address, options) => {
      if (options?.headers?.accept !== "text/html") return fetch(address, options);
      window.reads.push(Date.now() - window.begin);
      try {
        const answer = await fetch(address, options);
        return new Response(await answer.text(), answer);
      } finally {
        window.answered += 1;
      }
    };
  });
  return async (number) => {
    for (;;) {
      const reads = await until("the answer", () => page.evaluate(() => window.answered === window.reads.length && window.reads));
      if (reads.length >= number) return reads;
      assert.ok(await page.evaluate(() => Date.now() - window.begin < 60_000), `only ${reads.length} reads in a minute`);
      await page.clock.runFor(500);
    }
  };
}

/** Counts how often a page reads its content. */
function reads(page) {
  const seen = [];
  page.on("request", (request) => {
    if (request.resourceType() === "fetch" && request.headers().accept === "text/html") seen.push(Date.now());
  });
  return seen;
}

await run({
  async "a history that cannot be read three times in a row makes the page stale"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    const say = await playStream(page);
    await page.clock.install();
    await page.goto(`${base}/?source=${POOL}`);
    const told = async (word, history_error = null) => {
      await say("update", update({ history_error }));
      // The page looks twice a second.
      await page.clock.runFor(500);
      assert.match(await linkOf(page), word);
    };
    const fault = "the history did not answer";
    await told(/^Live$/);
    await told(/^Live$/, fault);
    await told(/^Live$/, fault);
    await told(/^Live$/);
    await told(/^Live$/, fault);
    await told(/^Live$/, fault);
    await told(/^Stale since/, fault);
    await told(/^Live$/);
    await close(opened);
  },

  async "a stream that is open and silent is opened anew, and the page polls meanwhile"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await playStream(page);
    await page.clock.install();
    await page.goto(`${base}/?source=${POOL}`);
    await page.locator("[data-graph][data-drawn]").waitFor();
    await until("the stream", async () => (await linkOf(page)) === "Live");
    let graphs = 0;
    page.on("request", (request) => {
      if (/\/graph\?/.test(request.url())) graphs += 1;
    });
    await page.evaluate(() => {
      window.silent = true;
    });
    await page.clock.fastForward(7_000);
    await until("the poll", async () => (await linkOf(page)) === "Live, every 5 s");
    assert.equal(await page.evaluate(() => window.streams), 2);
    for (let polls = 0; graphs === 0; polls++) {
      assert.ok(polls < 60, "the graph is not read any more");
      await page.clock.fastForward(5_000);
      await until("the next poll", async () => (await linkOf(page)) === "Live, every 5 s");
    }
    await page.evaluate(() => {
      window.silent = false;
    });
    await page.clock.fastForward(1_000);
    await until("the stream again", async () => (await linkOf(page)) === "Live");
    await close(opened);
  },

  async "what happens brings the content, but not at any price"(browser) {
    const quote = (publisher) => ["quote", { publisher, state: "created", at_ms: Date.now() }];
    // On a page that does not show it, nothing but the routine reads the content: after ten seconds.
    // Each in a context of its own, for the clock is the context's.
    const elsewhere = async (path, [type, data]) => {
      const opened = await open(browser);
      const { page } = opened;
      await playStream(page);
      const read = await timed(page);
      await page.goto(base + path);
      await storm(page, type, data);
      const [first] = await read(1);
      assert.ok(first >= 10_000, `${type} made ${path} read its content after ${first} ms`);
      await close(opened);
    };
    const here = async () => {
      const opened = await open(browser);
      const { page } = opened;
      await playStream(page);
      const read = await timed(page);
      await page.goto(`${base}/quotes?source=${POOL}`);
      await storm(page, ...quote(POOL));
      const [first, second, third] = await read(3);
      for (const apart of [second - first, third - second]) assert.ok(apart >= 3_000, `two looks within ${apart} ms`);
      assert.ok(third - first < 10_000, `sooner than by routine: ${first}, ${second}, ${third}`);
      await close(opened);
    };
    await Promise.all([
      elsewhere(`/blocks?source=${POOL}`, quote(POOL)),
      elsewhere(`/quotes?source=${POOL}`, quote("translator-eu-1")),
      elsewhere(`/workers?source=${POOL}`, ["worker", { publisher: "translator-eu-1" }]),
      elsewhere(`/blocks?source=${POOL}`, ["update", update({ more_workers: 3 })]),
      here(),
    ]);
  },

  async "an identity and a miner of one name stay two rows, and shares are counted once"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    const say = await playStream(page);
    await page.goto(`${base}/workers?source=${MIXED}`);
    const rows = () =>
      page.evaluate(() =>
        [...document.querySelectorAll(".workers tbody tr")].map((row) => [row.dataset.key, row.querySelector("[data-count]").dataset.count, row.mark]),
      );
    const of = async (kind) => Number((await rows()).find(([key]) => key === `${kind} twin`)[1]);
    assert.deepEqual((await rows()).map(([key]) => key).sort(), ["identity twin", "miner twin"]);
    await page.evaluate(() => {
      for (const row of document.querySelectorAll(".workers tbody tr")) row.mark = row.dataset.key;
    });
    const made = Number(await page.evaluate(() => document.body.dataset.now));
    const [identity, miner] = [await of("identity"), await of("miner")];
    const shares = (at_ms) =>
      say("update", update({ at_ms, workers: [{ publisher: MIXED, kind: "miner", name: "twin", accepted: 5, rejected: 0, last_share_ms: made }] }));
    // The page may know them already.
    await shares(made + 900);
    assert.deepEqual([await of("identity"), await of("miner")], [identity, miner]);
    await shares(made + 5_000);
    assert.deepEqual([await of("identity"), await of("miner")], [identity, miner + 5]);

    const seen = reads(page);
    await say("worker", { publisher: MIXED });
    await until("the content", async () => seen.length > 0 && (await of("miner")) === miner);
    assert.deepEqual((await rows()).map(([key, , mark]) => [key, mark]).sort(), [["identity twin", "identity twin"], ["miner twin", "miner twin"]]);
    await close(opened);
  },

  async "a page of a list that does not come leaves the one before, until it comes"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await page.goto(`${base}/workers?source=${POOL}`);
    await page.evaluate(() => {
      window.untouched = true;
    });
    const names = () => page.locator(".workers tbody th a").allTextContents();
    const first = await names();
    await page.route(/\/workers\?.*page=2/, (route) => route.abort());
    const failed = page.waitForEvent("requestfailed");
    await page.getByRole("link", { name: "Next" }).click();
    await failed;
    await until("the word for it", async () => (await linkOf(page)) === "Retrying");
    assert.match(page.url(), /page=2/);
    assert.deepEqual(await names(), first);
    await page.unroute(/\/workers\?.*page=2/);
    await until("the second page", async () => (await names())[0] !== first[0]);
    await until("its word", async () => (await linkOf(page)) === "Live");

    // The same on the way back.
    await page.route(/\/workers\?/, (route) => route.abort());
    await page.goBack();
    await until("the word for it", async () => (await linkOf(page)) === "Retrying");
    await page.unroute(/\/workers\?/);
    await until("the first page", async () => (await names()).join() === first.join());
    assert.equal(await page.evaluate(() => window.untouched), true, "the page was loaded once");
    await close(opened);
  },

  async "a list that is refused is loaded, for it says why"(browser) {
    const opened = await open(browser, { provoked: /status of 400/ });
    const { page } = opened;
    await page.goto(`${base}/workers?source=${POOL}`);
    await page.evaluate(() => {
      document.querySelector("a[data-sort=name]").href = "/workers?sort=luck";
    });
    await page.getByRole("link", { name: "Worker", exact: true }).click();
    await page.getByRole("heading", { name: "Not understood" }).waitFor();
    assert.match(await page.title(), /^Not understood/);
    await page.goBack();
    await until("the list before", async () => (await page.locator(".workers tbody tr").count()) > 0);
    await until("its stream", async () => (await linkOf(page)) === "Live");
    await close(opened);
  },

  async "a page that says why it is refused is not read again"(browser) {
    const opened = await open(browser, { provoked: /status of 40[04]/ });
    const { page } = opened;
    await page.clock.install();
    for (const [path, words] of [["/worker?name=typo&kind=identity", "Not found"], ["/workers?sort=luck", "Not understood"]]) {
      await page.goto(base + path);
      const asked = [];
      const note = (request) => request.resourceType() === "fetch" && asked.push(request.url());
      page.on("request", note);
      await page.clock.fastForward(60_000);
      // What was asked by then was asked before this.
      await page.evaluate(() => fetch("/health").then((answer) => answer.text()));
      assert.deepEqual(asked, [`${base}/health`]);
      page.off("request", note);
      await page.getByRole("heading", { name: words }).waitFor();
      assert.equal(await page.locator("[data-link-state]").count(), 0, "nothing on it can be stale");
    }
    await close(opened);
  },

  async "a page that is older than the sidecar is loaded anew, once a minute"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    const say = await playStream(page);
    const address = `${base}/blocks?source=${POOL}`;
    // Two builds behind one address answer in turn.
    let builds = 0;
    await page.route(address, async (route) => {
      if (route.request().resourceType() !== "fetch") return route.continue();
      const response = await route.fetch();
      builds = (builds + 1) % 2;
      const body = (await response.text()).replace(/app-[A-Z0-9]{8}\.js/, `app-${"YZ"[builds].repeat(8)}.js`);
      assert.match(body, /app-(Y{8}|Z{8})/);
      await route.fulfill({ response, body });
    });
    await page.clock.install();
    await page.goto(address);
    await page.evaluate(() => {
      window.untouched = true;
    });
    let loaded = 0;
    page.on("load", () => {
      loaded += 1;
    });
    await say("block", { publisher: POOL });
    await until("the new page", () => loaded === 1);
    assert.equal(await page.evaluate(() => window.untouched), undefined);
    // It was tried; who answers so again is not believed again.
    const seen = reads(page);
    for (let times = 1; times <= 3; times++) {
      await say("block", { publisher: POOL });
      await page.clock.runFor(4_000);
      await until("the content", () => seen.length >= times);
    }
    assert.equal(loaded, 1);
    await page.clock.runFor(60_000);
    await until("another try", () => loaded === 2);
    await close(opened);
  },
});
