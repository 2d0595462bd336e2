// Keeps relative times fresh and shows absolute ones in the chosen zone. The words equal console/ui/markup/numbers.py.
const KEY = "signalbox.zone";
const read = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
let isLocal = read() === "local";

const pad = (value, size = 2) => String(value).padStart(size, "0");

export function span(seconds) {
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${pad(minutes % 60)} min` : `${hours} h`;
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${Math.floor(hours / 24)} d`;
}

const ago = (seconds) => (Math.abs(seconds) < 1 ? "just now" : seconds > 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`);

function parts(moment) {
  if (!isLocal) {
    const iso = moment.toISOString();
    return { day: iso.slice(0, 10), clock: iso.slice(11, 19), ms: iso.slice(19, 23) };
  }
  return {
    day: `${moment.getFullYear()}-${pad(moment.getMonth() + 1)}-${pad(moment.getDate())}`,
    clock: `${pad(moment.getHours())}:${pad(moment.getMinutes())}:${pad(moment.getSeconds())}`,
    ms: `.${pad(moment.getMilliseconds(), 3)}`,
  };
}

export const clock = (moment) => parts(moment).clock;

function absolute(element, moment, form) {
  const { day, clock: time, ms } = parts(moment);
  if (form === "minute") {
    element.textContent = time.slice(0, 5);
    return;
  }
  const isToday = day === parts(new Date()).day;
  const text = form === "full" || !isToday ? `${day} ${time}` : time;
  const quiet = document.createElement("span");
  quiet.className = "quiet";
  quiet.textContent = ms;
  element.replaceChildren(text, quiet);
}

function show(element) {
  const moment = new Date(element.dateTime);
  if (Number.isNaN(moment.getTime())) return;
  const seconds = (Date.now() - moment.getTime()) / 1000;
  const form = element.dataset.form;
  if (form === "ago" || form === "age") {
    const text = form === "ago" ? ago(seconds) : span(Math.max(0, seconds));
    if (element.textContent !== text) element.textContent = text;
  } else if (isLocal || element.dataset.shown) {
    element.dataset.shown = isLocal ? "local" : "utc";
    absolute(element, moment, form);
  }
}

function refresh(root = document) {
  for (const element of root.querySelectorAll("time.when")) show(element);
}

function showZone() {
  for (const word of document.querySelectorAll("[data-zone-word]")) {
    word.textContent = isLocal ? Intl.DateTimeFormat().resolvedOptions().timeZone : "UTC";
  }
}

document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-zone-switch]")) return;
  isLocal = !isLocal;
  try { localStorage.setItem(KEY, isLocal ? "local" : "utc"); } catch { /* private mode */ }
  showZone();
  refresh();
});
document.addEventListener("htmx:afterSettle", (event) => { refresh(event.target); });
showZone();
refresh();
setInterval(() => { if (!document.hidden) refresh(); }, 1000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
