// The page: shows the messages of a chat as they come.

import { Chat, Moved, Refusal } from "./tally.js";

/** How many messages the page shows; earlier ones give way. */
const MAX_SHOWN = 500;

const byId = (id) => document.getElementById(id);
const [join, enter, room, list, earlier, write, text, state, refusal] =
  ["join", "enter", "room", "messages", "earlier", "write", "text", "state", "refusal"].map(byId);
const time = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "short" });

join.addEventListener("submit", (event) => {
  event.preventDefault();
  const user = new FormData(join).get("user");
  // Another click must not join once more.
  enter.disabled = true;
  run(user).catch((error) => {
    say("refused", error.message);
    enter.disabled = false;
  });
});

async function run(user) {
  const chat = new Chat(() => login(user));
  await show(chat);
  join.hidden = true;
  room.hidden = false;
  text.focus();
  write.addEventListener("submit", (event) => {
    event.preventDefault();
    post(chat);
  });
  earlier.addEventListener("click", () => showEarlier(chat));
  const leave = new AbortController();
  addEventListener("pagehide", () => leave.abort());
  // A browser may keep the page that was left, and show it again as it was: with a stream that has ended.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  await follow(chat, leave.signal);
}

/** In a product, the server knows from its own session who the user is. */
async function login(user) {
  const response = await fetch("session", { method: "POST", body: JSON.stringify({ user }) });
  if (!response.ok) throw await Refusal.of(response);
  return response.json();
}

let shownUpTo;

/** Shows the newest messages instead of those that are shown. */
async function show(chat) {
  const { messages, position } = await chat.messages();
  list.replaceChildren(...messages.map(row));
  earlier.hidden = !messages.length || messages[0].number === 1;
  list.lastElementChild?.scrollIntoView({ block: "end" });
  shownUpTo = position;
}

async function showEarlier(chat) {
  const first = list.firstElementChild;
  try {
    const { messages } = await chat.messages(first.dataset.number);
    messages.forEach(insert);
    earlier.hidden = !messages.length || messages[0].number === 1;
    first.scrollIntoView();
    refusal.textContent = "";
  } catch (error) {
    refusal.textContent = `refused: ${error.message}`;
  }
}

/** Follows from the position up to which the list shows all: so nothing is missing between the two, and nothing comes twice. */
async function follow(chat, signal) {
  while (!signal.aborted) {
    try {
      for await (const event of chat.follow(shownUpTo, { signal, onState: say })) {
        if (event.type === "message.created") append(event.data);
      }
    } catch (error) {
      // The server has another log, as after a restore; or the page's server has been started again, and has another chat.
      if (error.code !== "position-unknown" && !(error instanceof Moved)) throw error;
      await show(chat);
    }
  }
}

function append(message) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 50;
  const item = insert(message);
  if (!atEnd) return;
  item.scrollIntoView({ block: "end" });
  while (list.childElementCount > MAX_SHOWN) {
    list.firstElementChild.remove();
    earlier.hidden = false;
  }
}

/** On servers, messages that were posted at the same time may come in another order than that of their numbers. */
function insert(message) {
  let before = list.lastElementChild;
  while (before && Number(before.dataset.number) > message.number) before = before.previousElementSibling;
  if (Number(before?.dataset.number) === message.number) return before;
  const item = row(message);
  if (before) before.after(item);
  else list.prepend(item);
  return item;
}

function row({ number, author, created_at, body }) {
  const item = document.createElement("li");
  item.dataset.number = number;
  const part = (name, content) => {
    const element = document.createElement(name);
    element.textContent = content;
    item.append(element);
  };
  part("b", author ?? "somebody");
  part("time", created_at ? time.format(new Date(created_at)) : "");
  part("p", body);
  return item;
}

async function post(chat) {
  const body = text.value;
  text.value = "";
  try {
    await chat.post(body);
    refusal.textContent = "";
  } catch (error) {
    if (!text.value) text.value = body;
    refusal.textContent = `refused: ${error.message}`;
  }
}

/** Says how the stream of the chat is: `live`, `waiting` or `refused`. What else is refused has an output of its own. */
function say(name, reason = "") {
  state.dataset.state = name;
  state.textContent = reason ? `${name}: ${reason}` : name;
}
