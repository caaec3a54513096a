// Starts and stops what the tests need: Tally, and the server of the chat page.

import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const START_WAIT_MS = 30_000;
const STOP_WAIT_MS = 20_000;
const POLL_MS = 50;

export async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Waits until the condition gives something. */
export async function until(what, condition, waitMs = START_WAIT_MS) {
  const deadline = Date.now() + waitMs;
  for (;;) {
    const got = await condition();
    if (got) return got;
    if (Date.now() > deadline) throw new Error(`${what} has not happened in ${waitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** What tests that fail leave. */
const children = new Set();
const directories = new Set();

/** Ends all that is left. */
export async function clean() {
  children.forEach((child) => child.kill("SIGKILL"));
  for (const directory of directories) await rm(directory, { recursive: true, force: true });
}

class Process {
  constructor(command, args, env = {}) {
    // Tally refuses variables that it does not know.
    env.PATH = process.env.PATH;
    this.child = spawn(command, args, { env, stdio: ["ignore", "pipe", "inherit"] });
    children.add(this.child);
    this.output = "";
    this.child.stdout.on("data", (text) => (this.output += text));
    this.ended = new Promise((resolve) => this.child.once("exit", resolve));
  }

  /** Waits until the condition gives something, and throws if the process ends before. */
  async until(what, condition) {
    return until(what, () => {
      if (this.child.exitCode !== null) throw new Error(`it has ended with ${this.child.exitCode} before ${what}`);
      return condition();
    });
  }

  async stop() {
    this.child.kill("SIGTERM");
    const late = setTimeout(() => this.child.kill("SIGKILL"), STOP_WAIT_MS);
    await this.ended;
    clearTimeout(late);
    children.delete(this.child);
  }
}

/** A Tally with data of its own, which pages of an origin may use. */
export class Tally {
  static async start(auth, origin) {
    const tally = new Tally();
    const [write, read] = [await freePort(), await freePort()];
    tally.write = `http://127.0.0.1:${write}`;
    tally.read = `http://127.0.0.1:${read}`;
    tally.directory = await mkdtemp(join(tmpdir(), "tally-chat-"));
    directories.add(tally.directory);
    tally.args = ["--auth", auth, "--cors-origins", origin, "--data", join(tally.directory, "data"), "--log", "error",
      "--write-addr", `127.0.0.1:${write}`, "--read-addr", `127.0.0.1:${read}`, "--operator-addr", "127.0.0.1:0"];
    await tally.resume();
    tally.key = (await readFile(join(tally.directory, "data", "root.key"), "utf8")).trim();
    return tally;
  }

  async resume() {
    this.process = new Process(process.env.PROGRAM, this.args);
    const isReady = (url) => fetch(`${url}/health/ready`).then((response) => response.ok, () => false);
    await this.process.until("Tally is ready", async () => (await isReady(this.write)) && (await isReady(this.read)));
  }

  async pause() {
    await this.process.stop();
  }

  async remove() {
    await this.process.stop();
    await rm(this.directory, { recursive: true });
    directories.delete(this.directory);
  }

  /** Sends a request with the root key. */
  async call(method, path, body) {
    const headers = { Authorization: `Bearer ${this.key}`, "Content-Type": "application/json" };
    const url = `${this.write}/api/v1/chat_applications/${path}`;
    const response = await fetch(url, { method, headers, ...(body && { body: JSON.stringify(body) }) });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  }

  async post({ application, chat }, body) {
    await this.call("POST", `${application}/chats/${chat}/messages`, { message: { body, author: "test" } });
  }
}

/** The server of the page, on a port that is known before, because Tally must know the origin first. */
export class PageServer {
  static async start(tally, port, expiresIn = 900) {
    const server = new PageServer();
    const args = ["--write", tally.write, "--read", tally.read, "--port", `${port}`, "--expires-in", `${expiresIn}`];
    server.process = new Process(process.env.CHAT_SERVER, args, { API_KEY: tally.key });
    server.url = await server.process.until("the page is served", () => /the page is at (\S+)/.exec(server.process.output)?.[1]);
    return server;
  }

  async stop() {
    await this.process.stop();
  }
}
