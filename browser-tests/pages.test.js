// The pages at / and /docs of both ports in a headless browser.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { chromium } from "playwright-core";

import { Tally, clean } from "./processes.js";

const NARROW = { width: 390, height: 844 };
const WAIT_MS = 20_000;
/** A cell of a table that is narrower shows its words letter by letter. */
const MIN_CELL_WIDTH = 200;

describe("the pages of", () => {
  let browser;
  let tally;
  before(async () => {
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
    tally = await Tally.start("open", "https://app.example");
  });
  after(async () => {
    await browser?.close();
    await clean();
  });

  /** Opens a page. What the browser complains about, such as something that the page may not load, fails the test. */
  async function visit(url, viewport) {
    const page = await browser.newPage({ viewport });
    page.complaints = [];
    page.on("console", (message) => page.complaints.push(message.text()));
    page.on("pageerror", (error) => page.complaints.push(error.message));
    await page.goto(url);
    return page;
  }

  async function leave(page) {
    assert.deepEqual(page.complaints, []);
    await page.close();
  }

  /** Opens the first operation and sends it as it is filled in. */
  async function execute(page) {
    await page.locator(".opblock-summary-control").first().click();
    await page.getByRole("button", { name: "Execute" }).click();
    const status = page.locator(".live-responses-table tbody .response-col_status").first();
    await status.waitFor({ timeout: WAIT_MS });
    return Number.parseInt(await status.innerText());
  }

  for (const [port, other, status] of [["write", "read", 201], ["read", "write", 200]]) {
    it(`the ${port} port lead to each other and to the ${other} port`, async () => {
      const page = await visit(tally[port]);
      await page.getByRole("link", { name: "Documentation" }).click();
      await page.waitForURL(`${tally[port]}/docs/`);
      assert.equal(await page.title(), `Tally: ${port} API`);
      await page.getByRole("navigation").getByRole("link", { name: `Tally: ${other} API` }).click();
      await page.waitForURL(`${tally[other]}/docs/`);
      await leave(page);
    });

    it(`the ${port} port send what they have filled in`, async () => {
      const page = await visit(`${tally[port]}/docs`);
      assert.equal(await execute(page), status);
      await leave(page);
    });

    it(`the ${port} port fit a narrow screen`, async () => {
      const front = await visit(tally[port], NARROW);
      const docs = await visit(`${tally[port]}/docs`, NARROW);
      await execute(docs);
      const cells = await docs.$$eval(".parameters-col_description, .response-col_description", (found) =>
        found.map((cell) => cell.clientWidth).filter((width) => width > 0));
      assert.ok(cells.length > 5 && Math.min(...cells) >= MIN_CELL_WIDTH, `${cells}`);
      for (const page of [front, docs]) {
        assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= NARROW.width);
        const [inner, outer] = await page.$$eval("pre", (found) => [
          Math.max(0, ...found.map((text) => text.scrollWidth - text.clientWidth)), found.length]);
        assert.ok(page === docs || (outer > 0 && inner === 0), "the commands are cut off");
        await leave(page);
      }
    });
  }
});
