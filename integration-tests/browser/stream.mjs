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

/** Counts how often a page reads its content. */
function reads(page) {
  const seen = [];
  page.on("request", (request) => {
    if (request.resourceType() === "fetch" && request.headers().accept === "text/html") seen.push(Date.now());
  });
  return seen;
}

await run({
  async "a history that cannot be read makes the page stale at once"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    const say = await playStream(page);
    await page.goto(`${base}/?source=${POOL}`);
    const told = (word, about) =>
      until(`the word ${word}`, async () => {
        await say("update", update(about));
        return word.test(await linkOf(page));
      });
    await told(/^Live$/);
    await told(/^Stale since/, { history_error: "the history did not answer" });
    await told(/^Live$/);
    await close(opened);
  },

  async "what happens brings the content, but not at any price"(browser) {
    const opened = await open(browser);
    const { context } = opened;
    const quote = (publisher) => ["quote", { publisher, state: "created", at_ms: Date.now() }];
    // On a page that does not show it, nothing but the routine reads the content: after ten seconds.
    const elsewhere = async (path, [type, data]) => {
      const page = await context.newPage();
      await playStream(page);
      const seen = reads(page);
      const begin = Date.now();
      await page.goto(base + path);
      await storm(page, type, data);
      await until(`the routine of ${path}`, () => seen.length > 0);
      assert.ok(seen[0] - begin >= 10_000, `${type} made ${path} read its content after ${seen[0] - begin} ms`);
      await page.close();
    };
    const here = async () => {
      const page = await context.newPage();
      await playStream(page);
      const seen = reads(page);
      await page.goto(`${base}/quotes?source=${POOL}`);
      await storm(page, ...quote(POOL));
      await until("three looks", () => seen.length === 3);
      for (const [index, at] of seen.entries()) {
        if (index > 0) assert.ok(at - seen[index - 1] > 2_500, `two looks within ${at - seen[index - 1]} ms`);
      }
      assert.ok(seen[2] - seen[0] < 10_000, "sooner than by routine");
      await page.close();
    };
    await Promise.all([
      elsewhere(`/blocks?source=${POOL}`, quote(POOL)),
      elsewhere(`/quotes?source=${POOL}`, quote("translator-eu-1")),
      elsewhere(`/workers?source=${POOL}`, ["worker", { publisher: "translator-eu-1" }]),
      elsewhere(`/blocks?source=${POOL}`, ["update", update({ more_workers: 3 })]),
      here(),
    ]);
    await close(opened);
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
    await until("the word for it", async () => (await linkOf(page)) === "Reconnecting");
    assert.match(page.url(), /page=2/);
    assert.deepEqual(await names(), first);
    await page.unroute(/\/workers\?.*page=2/);
    await until("the second page", async () => (await names())[0] !== first[0]);
    await until("its word", async () => (await linkOf(page)) === "Live");

    // The same on the way back.
    await page.route(/\/workers\?/, (route) => route.abort());
    await page.goBack();
    await until("the word for it", async () => (await linkOf(page)) === "Reconnecting");
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
    await close(opened);
  },

  async "a page that is older than the sidecar is loaded anew, once"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    const say = await playStream(page);
    const address = `${base}/blocks?source=${POOL}`;
    await page.route(address, async (route) => {
      if (route.request().resourceType() !== "fetch") return route.continue();
      const response = await route.fetch();
      const body = (await response.text()).replace(/app-[A-Z0-9]{8}\.js/, "app-ZZZZZZZZ.js");
      assert.match(body, /app-ZZZZZZZZ/);
      await route.fulfill({ response, body });
    });
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
    // It was tried; a server that answers so again is not believed again.
    const seen = reads(page);
    await say("block", { publisher: POOL });
    await until("the content", () => seen.length === 1);
    await say("block", { publisher: POOL });
    await until("the content again", () => seen.length === 2);
    assert.equal(loaded, 1);
    await close(opened);
  },
});
