// A pool that has connected and has no worker yet; and a sidecar that is not ready, as one of its sinks cannot start.
import assert from "node:assert/strict";
import { ask, base, close, lookAt, open, run, until } from "./harness.mjs";

const PATHS = ["/", "/?view=table", "/workers", "/quotes", "/blocks", "/connections", "/pipeline", "/connect"];

await run({
  async "a pool without workers looks right on every page, ready or not"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    const look = async (state, paths) => {
      for (const path of paths) {
        const response = await page.goto(base + path);
        assert.equal(response.status(), 200, path);
        await lookAt(page, `${path} ${state}`);
      }
    };
    await look("without a worker", PATHS);
    assert.match(await page.locator("main").textContent(), /pool-eu-1/);
    await page.goto(`${base}/workers`);
    assert.match(await page.locator("main").textContent(), /Nobody has connected yet/);

    await ask("take the log");
    await page.goto(base);
    await page.getByText("The sidecar is not ready").waitFor();
    // With the link to the pipeline and without it.
    await look("while the sidecar is not ready", ["/", "/pipeline"]);
    await close(opened);
  },

  async "a phone says why a sink fails"(browser) {
    const opened = await open(browser);
    const { page } = opened;
    await page.goto(`${base}/pipeline`);
    const row = page.getByRole("region", { name: "Table: Sinks" }).locator("tbody tr").filter({ hasText: "log" });
    await until("the error", async () => /\d errors?, /.test(await row.textContent()));
    for (const width of [360, 1440]) {
      await page.setViewportSize({ width, height: 800 });
      const seen = await row.evaluate((row) => row.innerText);
      assert.equal(seen.match(/\d errors?, /g)?.length, 1, `at ${width} px: ${seen}`);
    }
    await close(opened);
  },
});
