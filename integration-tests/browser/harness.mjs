// What the browser tests share: cases that run one after the other, a browser, wishes to the test that started this script, and
// an ear for everything that must not happen.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import AxeBuilder from "@axe-core/playwright";
import { chromium } from "playwright-core";

export const base = process.argv[2];
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Asks the test for something that only it can do, and waits until it is done. */
export async function ask(wish) {
  process.stdout.write(`@ask ${wish}\n`);
  const { done } = await input.next();
  assert.ok(!done, `the test went away while asked to ${wish}`);
}

/** Looks again and again until a condition holds. */
export async function until(what, look, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  let seen;
  for (;;) {
    try {
      seen = await look();
      if (seen) return seen;
    } catch (error) {
      seen = error.message;
    }
    if (Date.now() > end) throw new Error(`waited ${seconds} s for ${what}; last seen: ${seen}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Opens a context whose pages may not break the policy, ask other origins, log errors or throw; but for what is `provoked`. */
export async function open(browser, { provoked, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const faults = [];
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => {
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
    });
  });
  context.on("request", (request) => {
    if (!request.url().startsWith(`${base}/`)) faults.push(`asked ${request.url()}`);
  });
  context.on("weberror", (error) => faults.push(`threw ${error.error().stack}`));
  context.on("console", (message) => {
    // While the sidecar is away the browser itself says so.
    const expected = /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|ERR_FAILED/;
    if (message.type() !== "error" || expected.test(message.text()) || provoked?.test(message.text())) return;
    faults.push(`logged ${message.text()}`);
  });
  return { context, faults, page: await context.newPage() };
}

/** Waits until scripts have drawn the graph, if the page has one. */
export async function drawn(page) {
  if (await page.locator("[data-plot]").count()) await page.locator("[data-graph][data-drawn] canvas").first().waitFor();
}

/** A word of the head about whether the page follows. */
export const linkOf = (page) => page.locator("[data-link-state]").textContent();

/** Hides the tab that a page is in, or shows it again. */
export const hide = (page, hidden) =>
  page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);

/** Gives a page that is not loaded yet a stream of the test instead of the sidecar's; what is returned sends a message. As the
 * sidecar's it speaks every second, though of nobody on the page, unless the page's `silent` is set. */
export async function playStream(page) {
  await page.addInitScript(() => {
    window.streams = 0;
    window.EventSource = class extends EventTarget {
      static CLOSED = 2;
      readyState = 1;
      constructor() {
        super();
        window.stream = this;
        window.streams += 1;
        const nobody = JSON.stringify({ publisher: "" });
        this.beat = setInterval(() => window.silent || this.dispatchEvent(new MessageEvent("worker", { data: nobody })), 1000);
      }
      close() {
        this.readyState = 2;
        clearInterval(this.beat);
      }
    };
  });
  return (type, data) =>
    page.evaluate(([type, data]) => {
      window.stream.dispatchEvent(new MessageEvent(type, { data: JSON.stringify(data) }));
    }, [type, data]);
}

/** Rules that may hold in one theme and not in another. */
const OF_COLORS = ["color-contrast", "link-in-text-block"];

/** What axe finds on a page as it is, by all its rules or by these. */
export async function violations(page, rules) {
  const axe = new AxeBuilder({ page }).setLegacyMode();
  const { violations } = await (rules ? axe.withRules(rules) : axe).analyze();
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 200)} ${node.failureSummary}`));
}

/** Looks at a page that is open: axe finds nothing in light and dark, and it never scrolls sideways. */
export async function lookAt(page, name) {
  await drawn(page);
  for (const [colorScheme, rules] of [["light"], ["dark", OF_COLORS]]) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await violations(page, rules), [], `${name}, ${colorScheme}`);
  }
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

/** Runs the cases in order; says which failed and how long each took. */
export async function run(cases) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
  });
  let failed = 0;
  for (const [name, body] of Object.entries(cases)) {
    const begin = Date.now();
    try {
      await body(browser);
      console.log(`ok      ${name} (${Date.now() - begin} ms)`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name} (${Date.now() - begin} ms)\n${error.stack}`);
    }
  }
  await browser.close();
  process.exit(failed === 0 ? 0 : 1);
}

/** Closes a context that is expected to have seen nothing wrong. */
export async function close({ context, faults }) {
  await context.close();
  assert.deepEqual(faults, []);
}
