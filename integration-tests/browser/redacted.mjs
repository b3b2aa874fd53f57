// Where addresses and names are left out, they are on no page, in no file, in no answer and in no message of the stream.
import assert from "node:assert/strict";
import { ask, base, close, open, run, until } from "./harness.mjs";

/** Parts of every name and address of the three publishers. */
const SECRETS = ["farm.rig", "pwned", "gnp.renim", "wwwwwwww", "s19.", "sim.rig", "192.0.2.", "203.0.113.", "198.51.100."];
/** Addresses that are looked at of each path: a list of a thousand workers links to a thousand pages. */
const EACH = 6;
const ANSWERS = [
  "/health",
  "/api/stats",
  "/api/hashrate?hours=24",
  "/api/miners?hours=24",
  "/api/services",
  "/api/connections",
  "/api/pool",
  "/api/v1/worker?kind=identity&name=farm.rig-0001",
];

function check(address, text) {
  // The description has addresses as examples, and nothing else of anybody.
  if (address === "/api/v1/openapi.json") return;
  for (const secret of SECRETS) {
    const at = text.indexOf(secret);
    assert.ok(at < 0, `${address} tells ${secret}: ${text.slice(Math.max(at - 200, 0), at + 100)}`);
  }
}

await run({
  async "the stream tells nobody's name or address"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await page.goto(`${base}/connect`);
    await page.evaluate(() => {
      window.heard = [];
      const stream = new EventSource("/api/v1/live");
      for (const type of ["update", "worker", "block", "quote", "source", "reset"]) {
        stream.addEventListener(type, (event) => window.heard.push(`${type} ${event.data}`));
      }
    });
    await ask("start the feed");
    const heard = () => page.evaluate(() => window.heard);
    // A worker that comes, and its shares by name.
    await until("a worker", async () => (await heard()).some((message) => /^worker .*worker-[0-9a-f]{12}/.test(message)));
    await until("its shares", async () => (await heard()).some((message) => /^update .*worker-[0-9a-f]{12}/.test(message)));
    for (const message of await heard()) check("the stream", message);
    await close(opened);
  },

  async "no page and no file that can be reached by links tells them"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    const [waiting, seen, of] = [["/"], new Set(["/"]), new Map()];
    let named = 0;
    while (waiting.length > 0) {
      const address = waiting.shift();
      const answer = await page.request.get(base + address);
      const text = await answer.text();
      assert.equal(answer.status(), 200, `${address}: ${text.slice(0, 300)}`);
      check(address, text);
      if (/worker-[0-9a-f]{12}/.test(text)) named += 1;
      if (!/text\/html/.test(answer.headers()["content-type"])) continue;
      await page.goto(base + address);
      // What scripts put on the page counts as well.
      check(address, await page.content());
      const links = await page.evaluate(() => [...document.querySelectorAll("a[href]")].map((link) => link.href));
      for (const link of links.map((link) => new URL(link)).filter((link) => link.origin === base)) {
        const [path, next] = [link.pathname, link.pathname + link.search];
        const looked = of.get(path) ?? 0;
        if (seen.has(next) || looked >= EACH) continue;
        of.set(path, looked + 1);
        seen.add(next);
        waiting.push(next);
      }
    }
    for (const path of ["/", "/workers", "/worker", "/connections", "/quotes", "/blocks", "/pipeline", "/connect", "/api/v1/workers"]) {
      assert.ok(of.has(path), `${path} was looked at; seen: ${[...of.keys()]}`);
    }
    assert.ok(named > 10, "pseudonyms stand in the names' places");
    await close(opened);
  },

  async "no answer to a program tells them"(browser) {
    const opened = await open(browser);
    const { request } = opened.page;
    const described = await (await request.get(`${base}/api/v1/openapi.json`)).json();
    const paths = Object.keys(described.paths).filter((path) => !path.includes("{") && path !== "/api/v1/live");
    assert.ok(paths.length > 10, paths.join(" "));
    let answered = 0;
    for (const source of ["pool-eu-1", "translator-eu-1", "simulated-pool"]) {
      for (const address of [...paths, ...ANSWERS]) {
        const answer = await request.get(`${base}${address}${address.includes("?") ? "&" : "?"}source=${source}`);
        const text = await answer.text();
        // A refusal repeats what was asked, and nothing else.
        check(address, answer.ok() ? text : text.replaceAll("farm.rig-0001", ""));
        if (answer.ok()) answered += 1;
      }
    }
    assert.ok(answered > 3 * 10, `${answered} were answered`);
    await close(opened);
  },
});
