// One-letter keys, never while typing. Rows are [data-row]; their link is the first a[data-open] or the first link.
const isTyping = (target) => target.closest?.("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable], .cm-editor") !== null;
const rows = () => [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent !== null);
const here = () => document.querySelector("[data-row].is-focus");

function go(step) {
  const all = rows();
  if (!all.length) return;
  const from = all.indexOf(here());
  const next = all[Math.min(all.length - 1, Math.max(0, from < 0 ? (step > 0 ? 0 : all.length - 1) : from + step))];
  here()?.classList.remove("is-focus");
  next.classList.add("is-focus");
  next.scrollIntoView({ block: "nearest" });
  document.dispatchEvent(new CustomEvent("row:focused", { detail: { row: next } }));
}

function escape() {
  if (document.querySelector("dialog[open]")) return; // the browser closes it
  const close = document.querySelector("[data-escape]");
  if (close) return void close.click();
  here()?.classList.remove("is-focus");
  document.dispatchEvent(new CustomEvent("selection:clear"));
}

const KEYS = {
  j: () => go(1),
  k: () => go(-1),
  Enter: () => (here()?.querySelector("a[data-open]") || here()?.querySelector("a[href]"))?.click(),
  x: () => here()?.querySelector("input[type=checkbox]")?.click(),
  r: () => document.body.dispatchEvent(new CustomEvent("refresh", { bubbles: true })),
  "/": () => document.querySelector("[data-search]")?.focus(),
  "?": () => { const help = document.getElementById("keys"); if (help && !help.open) help.showModal(); },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    if (isTyping(event.target)) event.target.blur();
    else escape();
    return;
  }
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  if (event.key === "Enter" && event.target.closest("a, button, summary, [role=button]")) return;
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
// A swapped list keeps the row that has the keys.
document.addEventListener("htmx:beforeSwap", () => {
  const row = here();
  if (row) document.body.dataset.focusedRow = row.dataset.row;
});
document.addEventListener("htmx:afterSettle", () => {
  const id = document.body.dataset.focusedRow;
  if (id && !here()) document.querySelector(`[data-row="${CSS.escape(id)}"]`)?.classList.add("is-focus");
});
