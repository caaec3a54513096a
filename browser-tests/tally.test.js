// The client of the chat page without a browser and without Tally.

import assert from "node:assert/strict";
import { it, mock } from "node:test";

import { Chat, Moved } from "./page/tally.js";

const RETRY_MS = 7;

it("comes back after the delay that the stream itself has told", async () => {
  const stream = `retry: ${RETRY_MS}\nevent: ready\nid: 0:1\ndata: {"position":"0:1"}\n\nevent: end\ndata: {"code":"draining"}\n\n`;
  mock.method(globalThis, "fetch", async () => new Response(stream));
  const delays = [];
  const setTimer = globalThis.setTimeout;
  mock.method(globalThis, "setTimeout", (action, ms) => (delays.push(ms), setTimer(action, ms)));
  const leave = new AbortController();
  const states = [];
  const onState = (state, reason) => {
    states.push([state, reason]);
    if (state === "waiting") leave.abort();
  };
  const chat = new Chat(async () => ({ read: "http://tally", application: "a", chat: 1, access_token: "token" }));
  for await (const event of chat.follow("0:0", { signal: leave.signal, onState })) assert.fail(`${event.type} is no event`);
  assert.deepEqual(states, [["live", undefined], ["waiting", "draining"]]);
  assert.equal(delays.at(-1), RETRY_MS);
  mock.restoreAll();
});

it("tells that the login has led to another chat, whose numbers and positions are others", async () => {
  const logins = ["former", "new"];
  const chat = new Chat(async () => ({ read: "http://tally", application: logins.shift(), chat: 1, access_token: "token" }));
  const asked = [];
  mock.method(globalThis, "fetch", async (url) => {
    asked.push(new URL(url).pathname.split("/").slice(4).join("/"));
    return url.includes("/events") ? new Response("{}", { status: 401 }) : new Response("[]", { headers: { "Log-Position": "0:1" } });
  });
  await chat.messages();
  const next = chat.follow("0:1", { signal: new AbortController().signal, onState: () => {} }).next();
  await assert.rejects(next, Moved);
  await assert.rejects(chat.post("for the former chat"), Moved);
  await chat.messages();
  assert.deepEqual(asked, ["former/chats/1/messages", "former/events", "new/chats/1/messages"]);
  mock.restoreAll();
});
