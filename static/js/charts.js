// One cursor for all charts of a panel: a move over one plot marks the same interval in each, with its values.
//   <div data-charts='["2026-11-18T13:02:00Z", …]'> holds .plot[data-tips='["99.1 handled", …]'], one entry an interval.
// The arrow keys move it too, when a plot has the focus. Lengths are set through the CSSOM, which the policy allows.
import { clock } from "./time.js";

let at = null; // {id, place}: outlives the swap of the panel

const panelOf = (target) => target.closest?.("[data-charts]");

function read(text) {
  try { return JSON.parse(text || "[]"); } catch { return []; }
}

function hide(panel) {
  for (const cursor of panel.querySelectorAll(".cursor")) cursor.hidden = true;
}

function show(panel, place) {
  const starts = read(panel.dataset.charts);
  if (!(place >= 0 && place < starts.length)) return hide(panel);
  at = { id: panel.id, place };
  const left = ((place + 0.5) / starts.length) * 100;
  [...panel.querySelectorAll(".plot[data-tips]")].forEach((plot, index) => {
    let cursor = plot.querySelector(".cursor");
    if (!cursor) {
      cursor = document.createElement("div");
      cursor.className = "cursor";
      cursor.append(document.createElement("span"));
      plot.append(cursor);
    }
    cursor.hidden = false;
    cursor.style.left = `${left}%`;
    cursor.classList.toggle("is-early", left < 40);
    const words = read(plot.dataset.tips)[place] ?? "";
    const time = clock(new Date(starts[place])).slice(0, 5);
    cursor.firstChild.textContent = index === 0 ? `${time} · ${words}` : words;
  });
}

function placeOf(event, panel) {
  const plot = event.target.closest(".plot");
  const box = (plot || panel.querySelector(".plot")).getBoundingClientRect();
  const share = (event.clientX - box.left) / box.width;
  if (share < 0 || share > 1) return -1;
  const count = read(panel.dataset.charts).length;
  return Math.min(count - 1, Math.floor(share * count));
}

document.addEventListener("pointermove", (event) => {
  const panel = panelOf(event.target);
  if (panel) show(panel, placeOf(event, panel));
  else if (at) clear();
}, { passive: true });

function clear() {
  const panel = at && document.getElementById(at.id);
  if (panel && !panel.contains(document.activeElement)) {
    hide(panel);
    at = null;
  }
}

document.addEventListener("keydown", (event) => {
  const panel = event.target.matches?.(".plot[tabindex]") && panelOf(event.target);
  if (!panel || !["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
  event.preventDefault();
  const last = read(panel.dataset.charts).length - 1;
  const here = at?.id === panel.id ? at.place : last + 1;
  const next = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: last }[event.key];
  show(panel, Math.max(0, Math.min(last, next)));
});
document.addEventListener("focusout", (event) => { if (panelOf(event.target)) setTimeout(() => at && clear()); });
document.addEventListener("htmx:afterSettle", () => {
  const panel = at && document.getElementById(at.id);
  if (panel) show(panel, at.place);
});
