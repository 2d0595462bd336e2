// <button data-copy="text"> copies text; the icon becomes a check for a moment. data-copy-url copies a path as an absolute URL.
import { say } from "./toast.js";
import { sprite } from "./icons.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-url]");
  if (!button) return;
  event.preventDefault();
  event.stopPropagation();
  const text = button.dataset.copyUrl !== undefined ? new URL(button.dataset.copyUrl || location.href, location.href).href : button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    say("dead", "Could not copy.", "The browser allows it only over https or on localhost.");
    return;
  }
  const use = button.querySelector("use");
  if (!use) return;
  const before = use.getAttribute("href");
  if (before === sprite("check")) return;
  use.setAttribute("href", sprite("check"));
  setTimeout(() => use.setAttribute("href", before), 1200);
}, true);
