// The demo of Tally's README with the generated client.

import assert from "node:assert/strict";

import { answered, connect } from "./tally.js";

const writeUrl = process.env.WRITE_URL ?? "http://127.0.0.1:8080";
const tally = connect({
  writeUrl,
  readUrl: process.env.READ_URL ?? "http://127.0.0.1:3000",
  ...(process.env.API_KEY === undefined ? {} : { credential: process.env.API_KEY }),
});

function stop(reason: string): never {
  console.error(reason);
  process.exit(1);
}

const created = await tally.write
  .POST("/api/v1/chat_applications", { body: { chat_application: { name: "Support" } } })
  .catch(() => stop(`no Tally answers at ${writeUrl}: start one, or set WRITE_URL and READ_URL`));
if (created.response.status === 401) stop(`Tally at ${writeUrl} takes no such credential: set API_KEY to its root key`);
const application = answered(created);
const { token } = application;
console.log("created", application);

const chat = answered(
  await tally.write.POST("/api/v1/chat_applications/{token}/chats", { params: { path: { token } } }),
);
const path = { token, chat: chat.number };

// A retry with the same key is the same message.
const post = {
  params: { path, header: { "Idempotency-Key": crypto.randomUUID() } },
  body: { message: { body: "Hello, Straße! 🚀", author: "alice" } },
};
const posted = answered(await tally.write.POST("/api/v1/chat_applications/{token}/chats/{chat}/messages", post));
const again = answered(await tally.write.POST("/api/v1/chat_applications/{token}/chats/{chat}/messages", post));
assert.deepEqual(again, posted);
console.log("posted", posted);

const page = await tally.read.GET("/api/v1/chat_applications/{token}/chats/{chat}/messages", {
  params: { path, query: { include: "author" } },
});
const listed = answered(page);
assert.deepEqual(listed, [{ number: 1, body: "Hello, Straße! 🚀", author: "alice" }]);
console.log("listed", listed);

const found = answered(
  await tally.read.GET("/api/v1/chat_applications/{token}/chats/{chat}/messages/search", {
    params: { path, query: { q: "STRASSE" } },
  }),
);
assert.deepEqual(found, [{ number: 1, body: "Hello, Straße! 🚀" }]);
console.log("found", found);

const shown = answered(await tally.read.GET("/api/v1/chat_applications/{token}", { params: { path: { token } } }));
assert.equal(shown.chats_count, 1);
console.log("shown", shown);

// Who has read a list follows from its position: nothing is missed, and nothing is told twice.
answered(
  await tally.write.POST("/api/v1/chat_applications/{token}/chats/{chat}/messages", {
    params: { path },
    body: { message: { body: "A second one" } },
  }),
);
const followed = answered(
  await tally.read.GET("/api/v1/chat_applications/{token}/events", {
    params: {
      path: { token },
      query: { after: page.response.headers.get("Log-Position") ?? "latest", chats: `${chat.number}` },
      header: { Prefer: "wait=30" },
    },
  }),
);
// The other type of answer is a stream.
assert.ok(typeof followed !== "string");
assert.deepEqual(
  followed.map(({ type, data }) => [type, "body" in data && data.body]),
  [["message.created", "A second one"]],
);
console.log("followed", followed);

// Whatever order simultaneous posts are answered in, a read shows all of them.
const bodies = Array.from({ length: 8 }, (_, index) => `one of eight: ${index}`);
await Promise.all(
  bodies.map(async (body) =>
    answered(
      await tally.write.POST("/api/v1/chat_applications/{token}/chats/{chat}/messages", {
        params: { path },
        body: { message: { body } },
      }),
    ),
  ),
);
const all = answered(
  await tally.read.GET("/api/v1/chat_applications/{token}/chats/{chat}/messages", { params: { path } }),
);
assert.equal(all.length, 2 + bodies.length);

const refused = await tally.write.POST("/api/v1/chat_applications", { body: { chat_application: { name: " " } } });
assert.equal(refused.response.status, 422);
assert.deepEqual(refused.error?.errors, { name: ["can't be blank"] });
console.log("refused", refused.error?.code, refused.error?.errors);
