// A chat of Tally in a browser: reads it, posts to it, follows it.

import { createParser } from "./vendor/eventsource-parser/index.js";

/** How many messages are read at once. */
const PAGE_MESSAGES = 50;
/** The feed sends a comment every 15 s. A stream that is silent for longer than this is dead. */
const MAX_SILENCE_MS = 40_000;
/** The delay before the feed is asked again doubles with each failure, between these. */
const MIN_DELAY_MS = 1_000;
const MAX_DELAY_MS = 30_000;
/** How often a post is sent in all. */
const POST_ATTEMPTS = 5;

/** What Tally, or the server of the page, has refused. */
export class Refusal extends Error {
  constructor(status, problem, retryAfterMs) {
    const errors = Object.entries(problem.errors ?? {});
    const ofFields = errors.flatMap(([field, reasons]) => reasons.map((reason) => `${field} ${reason}`));
    super([problem.detail ?? `status ${status}`, ...ofFields].join("; "));
    this.status = status;
    this.code = problem.code;
    this.retryAfterMs = retryAfterMs;
  }

  static async of(response) {
    const problem = await response.json().catch(() => ({}));
    return new Refusal(response.status, problem, Number(response.headers.get("Retry-After") ?? 0) * 1000);
  }

  /** Whether it may be answered otherwise in a while. */
  get isTemporary() {
    return this.status === 503 || this.status === 429;
  }
}

/** The login has led to another chat than the one whose messages were listed. */
export class Moved extends Error {
  constructor() {
    super("the chat is another one now");
  }
}

export class Chat {
  #login;
  /** The chat whose newest messages were listed last. Numbers and positions are those of this one. */
  #listed;
  /** A promise of the session, so that all who need one at the same time get the same. */
  #session;

  /** `login` answers `{write, read, application, chat, access_token}`. It is called again when the token has expired. */
  constructor(login) {
    this.#login = login;
  }

  /** The newest messages, or those just before a number, in order of their numbers, and the position up to which they are shown. */
  async messages(before) {
    const query = new URLSearchParams({ include: "author,created_at", limit: PAGE_MESSAGES });
    if (before === undefined) query.set("order", "desc");
    else query.set("before", before);
    const response = await this.#request("read", (session) => {
      if (before === undefined) this.#listed = nameOf(session);
      return `chats/${session.chat}/messages?${query}`;
    });
    const messages = await response.json();
    return {
      messages: before === undefined ? messages.reverse() : messages,
      position: response.headers.get("Log-Position"),
    };
  }

  /** Posts once, however often it must be sent. */
  async post(body) {
    const init = {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": randomKey() },
      body: JSON.stringify({ message: { body } }),
    };
    for (let attempt = 1; ; attempt++) {
      try {
        const response = await this.#request("write", ({ chat }) => `chats/${chat}/messages`, init);
        return await response.json();
      } catch (error) {
        if (!isTemporary(error) || attempt === POST_ATTEMPTS) throw error;
        await delay(Math.max(error.retryAfterMs ?? 0, backoff(attempt)));
      }
    }
  }

  /**
   * Yields each event of the chat behind the position once. Goes on by itself when the stream ends, the token expires or the server is
   * away; throws what does not pass, and `Moved`. `onState` is told `live` when every event so far was yielded, and otherwise `waiting`
   * with the reason.
   */
  async *follow(position, { signal, onState }) {
    let failures = 0;
    let retryMs = MIN_DELAY_MS;
    while (!signal.aborted) {
      let reason = "the connection was closed";
      // What the stream itself says, at its beginning, unless something else is to be done.
      let delayMs;
      try {
        for await (const message of this.#stream(position, signal, (ms) => (retryMs = ms))) {
          failures = 0;
          if (message.event === "ready") {
            onState("live");
          } else if (message.event === "end") {
            reason = JSON.parse(message.data).code;
            // The next request gets another token.
            if (reason === "token-expired" || reason === "revoked") delayMs = 0;
          } else if (message.event === undefined) {
            yield JSON.parse(message.data);
          }
          position = message.id ?? position;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (!isTemporary(error)) throw error;
        reason = error instanceof Refusal ? error.message : "the server cannot be reached";
        failures += 1;
        delayMs = Math.max(error.retryAfterMs ?? 0, backoff(failures));
      }
      onState("waiting", reason);
      await delay(delayMs ?? retryMs, signal);
    }
  }

  /** The messages of one stream of events. */
  async *#stream(position, signal, onRetry) {
    const silence = new AbortController();
    let timer;
    const hear = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(new TypeError("the server is silent")), MAX_SILENCE_MS);
    };
    hear();
    try {
      const query = ({ chat }) => `events?${new URLSearchParams({ chats: chat, after: position })}`;
      const response = await this.#request("read", query, {
        headers: { Accept: "text/event-stream" },
        signal: AbortSignal.any([signal, silence.signal]),
      });
      const messages = [];
      const parser = createParser({ onEvent: (message) => messages.push(message), onRetry });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        hear();
        parser.feed(value);
        yield* messages.splice(0);
      }
    } finally {
      clearTimeout(timer);
      silence.abort();
    }
  }

  /** Sends a request with the token of the session, and once more with a new token if that one is not valid any longer. */
  async #request(port, path, init = {}) {
    for (let renewed = false; ; renewed = true) {
      this.#session ??= this.#login();
      const asked = this.#session;
      const session = await asked.catch((error) => {
        if (this.#session === asked) this.#session = undefined;
        throw error;
      });
      const url = `${session[port]}/api/v1/chat_applications/${session.application}/${path(session)}`;
      this.#listed ??= nameOf(session);
      if (nameOf(session) !== this.#listed) throw new Moved();
      const headers = { ...init.headers, Authorization: `Bearer ${session.access_token}` };
      const response = await fetch(url, { ...init, headers, cache: "no-store" });
      if (response.ok) return response;
      if (response.status !== 401 || renewed) throw await Refusal.of(response);
      if (this.#session === asked) this.#session = undefined;
    }
  }
}

function nameOf({ read, application, chat }) {
  return `${read} ${application} ${chat}`;
}

/** `fetch` throws a TypeError when there is no answer. */
function isTemporary(error) {
  return error instanceof TypeError || (error instanceof Refusal && error.isTemporary);
}

function backoff(failures) {
  return Math.min(MIN_DELAY_MS * 2 ** (failures - 1), MAX_DELAY_MS) * (0.5 + Math.random() / 2);
}

/** Ends early when the signal is aborted. */
function delay(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

/** `crypto.randomUUID` is missing in pages that come over HTTP from another machine. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
