// One WebSocket carries hints, never data: {seq, topics}. A hint becomes the event "changed:<topic>" on <body>, and the
// elements that named it in hx-trigger read their own partial again; "changed:any" comes once whatever the topics, so
// that what shows several of them is read once. A gap or a reconnect fires every topic.
import { clock } from "./time.js";

const TOPICS = (document.body.dataset.topics || "").split(" ");
const SILENT_AFTER = 10_000;
const root = document.documentElement;
const path = document.body.dataset.live;
let socket = null;
let last = null; // sequence of the last frame of this connection
let heardAt = 0;
let staleSince = null;
let isBehind = true; // read everything when the next frame arrives: nothing was heard since the page was rendered
let wasHeard = false;
let waits = 0;
let timer = null;

// htmx's throttle drops what comes inside its window, the last change included. So hints are gathered here, fired
// together at most once a second, and fired once more when they have stopped: an element may throttle up to three seconds.
const APART = 1000;
const TAIL = 3500;
const waiting = new Set();
const lately = new Set();
let firedAt = 0;
let firing = null;
let tail = null;

function dispatch(topics) {
  for (const topic of topics) document.body.dispatchEvent(new CustomEvent(`changed:${topic}`, { bubbles: true }));
  if (topics.length) document.body.dispatchEvent(new CustomEvent("changed:any", { bubbles: true }));
}

function flush() {
  firing = null;
  firedAt = Date.now();
  const topics = [...waiting];
  waiting.clear();
  for (const topic of topics) lately.add(topic);
  clearTimeout(tail);
  tail = setTimeout(() => { const last = [...lately]; lately.clear(); dispatch(last); }, TAIL);
  dispatch(topics);
}

function fire(topics) {
  for (const topic of topics) waiting.add(topic);
  if (waiting.size && !firing) firing = setTimeout(flush, Math.max(0, firedAt + APART - Date.now()));
}

function show() {
  const isStale = root.classList.contains("is-stale");
  const isLive = root.classList.contains("is-live");
  const text = isStale ? `Stale since ${clock(staleSince)}` : isLive ? `Live, ${clock(new Date())}` : "Connecting";
  for (const word of document.querySelectorAll(".strip [data-live-word]")) word.textContent = text;
  for (const word of document.querySelectorAll(".rail [data-live-word]")) word.textContent = isStale ? "Stale" : isLive ? "Live" : "…";
  for (const element of document.querySelectorAll("[data-live-state]")) {
    element.title = heardAt ? `Last heard ${new Date(heardAt).toISOString().replace("T", " ").replace("Z", " UTC")}` : "Connecting to the server";
  }
  for (const since of document.querySelectorAll("[data-stale-since]")) since.textContent = isStale ? ` at ${clock(staleSince)}` : "";
}

function grey(isStale) {
  for (const button of document.querySelectorAll("button.needs-live, input.needs-live")) {
    if (isStale && !button.disabled) {
      button.disabled = true;
      button.dataset.greyed = "";
    } else if (!isStale && "greyed" in button.dataset) {
      button.disabled = false;
      delete button.dataset.greyed;
    }
  }
}

function becomeStale() {
  if (root.classList.contains("is-stale")) return;
  staleSince = new Date(heardAt || Date.now());
  isBehind = true;
  root.classList.remove("is-live");
  root.classList.add("is-stale");
  grey(true);
  show();
}

function becomeLive() {
  root.classList.remove("is-stale");
  root.classList.add("is-live");
  staleSince = null;
  grey(false);
}

function receive(event) {
  let frame;
  try { frame = JSON.parse(event.data); } catch { return; }
  heardAt = Date.now();
  wasHeard = true;
  waits = 0;
  const hasGap = last !== null && frame.seq !== last + 1;
  last = frame.seq;
  becomeLive();
  if (hasGap || isBehind) {
    isBehind = false;
    fire(TOPICS);
  } else {
    fire((frame.topics || []).filter((topic) => TOPICS.includes(topic)));
  }
  show();
}

function connect() {
  clearTimeout(timer);
  last = null;
  const mine = new WebSocket(new URL(path, location.href.replace(/^http/, "ws")));
  socket = mine;
  mine.addEventListener("message", receive);
  mine.addEventListener("close", (event) => {
    if (socket !== mine) return;
    socket = null;
    isBehind = true;
    // 4401 and 4403: signed out, or the permission was taken away. The server says which, and what was on screen goes.
    if (event.code === 4401 || event.code === 4403) {
      if (wasHeard) location.reload(); // never at once, or a page whose socket gets no cookie would reload for ever
      becomeStale();
      return;
    }
    waits = Math.min(waits + 1, 6);
    timer = setTimeout(connect, 250 * 2 ** waits * (0.5 + Math.random() / 2));
  });
}

// Parts with buttons are morphed, not replaced: a press that began before a swap still ends on the same button. What the
// reader unfolded stays so. Parts with a throttle are morphed too: htmx keeps it with the element, so one that is replaced
// by its own answer would read at every hint.
if (window.Idiomorph) {
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) => !(name === "open" && element.matches("details"));
}

if (path) {
  connect();
  heardAt = Date.now();
  setInterval(() => {
    if (Date.now() - heardAt > SILENT_AFTER) {
      becomeStale();
      // A half-open connection never closes by itself.
      if (socket?.readyState === WebSocket.OPEN) socket.close();
    }
    show();
  }, 1000);
  addEventListener("online", () => { if (!socket) connect(); });
  addEventListener("pageshow", (event) => { if (event.persisted && !socket) connect(); });
  addEventListener("pagehide", () => { const open = socket; socket = null; open?.close(); });
}
document.addEventListener("htmx:afterSettle", () => grey(root.classList.contains("is-stale")));
document.body.addEventListener("refresh", () => fire(TOPICS));
document.addEventListener("click", (event) => { if (event.target.closest("[data-reload]")) location.reload(); });
