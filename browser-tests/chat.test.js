// The chat page of examples/chat in a headless browser: across origins, with keys required, through an expired token, a void one and a restart; and the
// browser's own EventSource on an open Tally.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { chromium } from "playwright-core";

import { PageServer, Tally, clean, freePort, until } from "./processes.js";

/** Tally accepts a token for a minute after its end, and ends its stream within 5 s. */
const EXPIRY_WAIT_MS = 90_000;
const WAIT_MS = 20_000;
const POST_INTERVAL_MS = 500;

let browser;

before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-quic"] });
});
after(async () => {
  await browser.close();
  await clean();
});

/** Opens the page in a browser of its own and joins. What the page reports as an error fails the test at `close`. */
async function join(url, user) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.errors = [];
  page.on("pageerror", (error) => page.errors.push(error));
  await page.goto(url);
  page.session = await page.evaluate(
    async (user) => (await fetch("session", { method: "POST", body: JSON.stringify({ user }) })).json(),
    user,
  );
  await page.getByLabel("Your name").fill(user);
  // The second click must not join once more.
  await page.getByRole("button", { name: "Join" }).dblclick();
  await isLive(page);
  return page;
}

async function isLive(page) {
  await page.waitForSelector("#state[data-state=live]", { timeout: WAIT_MS });
}

async function close(page) {
  assert.deepEqual(page.errors, []);
  await page.context().close();
}

const shown = (page) => page.$$eval("#messages p", (bodies) => bodies.map((body) => body.textContent));
const shows = (page, bodies, waitMs = WAIT_MS) =>
  until(`the page shows ${bodies}`, async () => `${await shown(page)}` === `${bodies}`, waitMs);

/**
 * Follows the chat once more in the page, and keeps all that is told: the page itself would not show a message twice.
 * The recorder's user may be another one.
 */
async function record(page, user) {
  await page.evaluate(async (user) => {
    const { Chat } = await import("./tally.js");
    const record = { numbers: [], reasons: [], logins: 0, live: 0 };
    window.record = record;
    const chat = new Chat(async () => {
      record.logins += 1;
      return (await fetch("session", { method: "POST", body: JSON.stringify({ user }) })).json();
    });
    const { position } = await chat.messages();
    const onState = (state, reason) => (state === "live" ? (record.live += 1) : record.reasons.push(reason));
    (async () => {
      for await (const event of chat.follow(position, { signal: new AbortController().signal, onState })) {
        record.numbers.push(event.data.number);
      }
    })();
  }, user);
  await page.waitForFunction(() => window.record.live > 0, null, { timeout: WAIT_MS });
}

const recorded = (page) => page.evaluate(() => window.record);

describe("a browser", { concurrency: true }, () => {
  describe("with keys required", { concurrency: true }, () => {
    let tally;
    const ports = [];
    before(async () => {
      for (let server = 0; server < 4; server++) ports.push(await freePort());
      tally = await Tally.start("required", ports.map((port) => `http://127.0.0.1:${port}`).join(","));
    });
    after(() => tally.remove());

    it("shows messages of others as they come, across origins", async () => {
      const server = await PageServer.start(tally, ports[0]);
      const [alice, bob] = [await join(server.url, "alice"), await join(server.url, "bob")];
      for (const url of [tally.write, tally.read]) assert.notEqual(new URL(url).origin, new URL(server.url).origin);
      let posts = 0;
      alice.on("request", (request) => (posts += request.method() === "POST" && request.url().startsWith(tally.write)));
      const bodies = ["Hello, Straße! 🚀", "<b>not bold</b>", "the third"];
      for (const body of bodies) {
        await alice.getByLabel("Message").fill(body);
        await alice.getByRole("button", { name: "Send" }).click();
        await shows(bob, bodies.slice(0, bodies.indexOf(body) + 1));
      }
      await shows(alice, bodies);
      assert.equal(posts, bodies.length);
      assert.deepEqual(await bob.$$eval("#messages b", (names) => names.map((name) => name.textContent)), Array(3).fill("alice"));
      // Who comes later reads what was posted before.
      const carol = await join(server.url, "carol");
      await shows(carol, bodies);
      // What is refused of a post says nothing of the stream.
      await carol.getByLabel("Message").fill(" ");
      await carol.getByRole("button", { name: "Send" }).click();
      await carol.locator("#refusal", { hasText: "body can't be blank" }).waitFor({ timeout: WAIT_MS });
      await isLive(carol);
      for (const page of [alice, bob, carol]) await close(page);
      await server.stop();
    });

    it("is kept out at an origin that is not admitted", async () => {
      const server = await PageServer.start(tally, ports[1]);
      const page = await (await browser.newContext()).newPage();
      await page.goto(server.url.replace("127.0.0.1", "localhost"));
      await page.getByLabel("Your name").fill("mallory");
      await page.getByRole("button", { name: "Join" }).click();
      await page.waitForSelector("#state[data-state=refused]", { timeout: WAIT_MS });
      await page.context().close();
      await server.stop();
    });

    it("goes on with a new token when its token has expired", async () => {
      const server = await PageServer.start(tally, ports[2], 1);
      const page = await join(server.url, "alice");
      await record(page, "alice");
      const bodies = [];
      const expired = async () => {
        await tally.post(page.session, `${bodies.length + 1}`);
        bodies.push(`${bodies.length + 1}`);
        await new Promise((resolve) => setTimeout(resolve, POST_INTERVAL_MS));
        const { reasons, live } = await recorded(page);
        return reasons.includes("token-expired") && live > 1;
      };
      await until("the token has expired, and the stream goes on", expired, EXPIRY_WAIT_MS);
      await tally.post(page.session, "the last");
      bodies.push("the last");
      await shows(page, bodies);
      const numbers = bodies.map((_, index) => index + 1);
      await until("all is told", async () => (await recorded(page)).numbers.length >= numbers.length, WAIT_MS);
      const { numbers: told, logins } = await recorded(page);
      assert.deepEqual(told, numbers);
      assert.equal(logins, 2);
      await close(page);
      await server.stop();
    });

    it("goes on with a new token when its tokens were made void", async () => {
      const server = await PageServer.start(tally, ports[3]);
      const page = await join(server.url, "dave");
      await record(page, "dave");
      await tally.post(page.session, "before");
      await shows(page, ["before"]);
      await tally.call("DELETE", `${page.session.application}/user_tokens?user=dave`);
      await until("the stream has ended and goes on", async () => {
        const { reasons, live } = await recorded(page);
        return reasons.includes("revoked") && live > 1;
      }, WAIT_MS);
      await tally.post(page.session, "after");
      await shows(page, ["before", "after"]);
      await until("all is told", async () => (await recorded(page)).numbers.length >= 2, WAIT_MS);
      assert.deepEqual((await recorded(page)).numbers, [1, 2]);
      await close(page);
      await server.stop();
    });
  });

  it("shows the new chat when its server has been started again", async () => {
    const port = await freePort();
    const tally = await Tally.start("required", `http://127.0.0.1:${port}`);
    const former = await PageServer.start(tally, port);
    const page = await join(former.url, "alice");
    await tally.post(page.session, "in the former chat");
    await shows(page, ["in the former chat"]);
    await former.stop();
    const server = await PageServer.start(tally, port);
    await tally.call("DELETE", `${page.session.application}/user_tokens?user=alice`);
    await shows(page, []);
    const { session } = await join(server.url, "bob").then(async (other) => (await close(other), other));
    assert.notEqual(session.application, page.session.application);
    // It has the number of the one in the former chat.
    await tally.post(session, "in the new chat");
    await shows(page, ["in the new chat"]);
    await isLive(page);
    await close(page);
    await server.stop();
    await tally.remove();
  });

  it("misses nothing when Tally is restarted", async () => {
    const port = await freePort();
    const tally = await Tally.start("required", `http://127.0.0.1:${port}`);
    const server = await PageServer.start(tally, port);
    const page = await join(server.url, "alice");
    await record(page, "alice");
    await tally.post(page.session, "before");
    await shows(page, ["before"]);
    await tally.pause();
    await until("the end is told", async () => (await recorded(page)).reasons.includes("draining"), WAIT_MS);
    await tally.resume();
    await tally.post(page.session, "while the page waits");
    await shows(page, ["before", "while the page waits"]);
    await isLive(page);
    await until("all is told", async () => (await recorded(page)).numbers.length >= 2, WAIT_MS);
    assert.deepEqual((await recorded(page)).numbers, [1, 2]);
    await close(page);
    await server.stop();
    await tally.remove();
  });

  it("follows an open Tally by its own EventSource, which resumes by itself", async () => {
    const port = await freePort();
    const tally = await Tally.start("open", `http://127.0.0.1:${port}`);
    const server = await PageServer.start(tally, port);
    const page = await (await browser.newContext()).newPage();
    await page.goto(server.url);
    const session = await page.evaluate(async () => {
      const session = await (await fetch("session", { method: "POST", body: JSON.stringify({ user: "erin" }) })).json();
      const { read, application, chat } = session;
      const source = new EventSource(`${read}/api/v1/chat_applications/${application}/events?chats=${chat}`);
      window.record = { ready: 0, ends: [], told: [] };
      source.addEventListener("ready", () => (window.record.ready += 1));
      source.addEventListener("end", ({ data }) => window.record.ends.push(JSON.parse(data).code));
      source.onmessage = ({ data, lastEventId }) => {
        const { type, position, data: { number, body, author } } = JSON.parse(data);
        window.record.told.push({ type, number, body, author, isAtId: position === lastEventId });
      };
      return session;
    });
    const isReady = (times) => until("the stream is ready", async () => (await recorded(page)).ready >= times, WAIT_MS);
    const message = (number) => ({ type: "message.created", number, body: `${number}`, author: "test", isAtId: true });
    await isReady(1);
    await tally.post(session, "1");
    await until("it is told", async () => (await recorded(page)).told.length > 0, WAIT_MS);
    await tally.pause();
    await until("the end is told", async () => (await recorded(page)).ends.length > 0, WAIT_MS);
    assert.deepEqual((await recorded(page)).ends, ["draining"]);
    await tally.resume();
    // Before the browser has come back, most likely: it waits for a second or longer.
    await tally.post(session, "2");
    await isReady(2);
    await tally.post(session, "3");
    await until("all is told", async () => (await recorded(page)).told.length >= 3, WAIT_MS);
    assert.deepEqual((await recorded(page)).told, [1, 2, 3].map(message));
    await page.context().close();
    await server.stop();
    await tally.remove();
  });
});
