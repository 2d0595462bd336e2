// One polite live region for what just happened. Failed requests say what happened and what was not changed.
import { icon } from "./icons.js";

const STAY = 8000;

export function say(state, title, detail = "") {
  const region = document.getElementById("toasts");
  if (!region) return;
  const toast = document.createElement("div");
  toast.className = "toast";
  toast.dataset.toast = "";
  const text = document.createElement("span");
  const strong = document.createElement("b");
  strong.textContent = title;
  const more = document.createElement("span");
  more.className = "quiet";
  more.textContent = detail ? ` ${detail}` : "";
  text.append(strong, more);
  const close = document.createElement("button");
  close.type = "button";
  close.className = "btn btn-icon btn-small btn-bare push";
  close.dataset.dismiss = "";
  close.setAttribute("aria-label", "Dismiss");
  close.append(icon("x"));
  toast.append(icon(state, `ic s-${state}`), text, close);
  while (region.children.length >= 4) region.firstElementChild.remove();
  region.append(toast);
  if (state !== "dead") setTimeout(() => toast.remove(), STAY);
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-dismiss]")) event.target.closest("[data-toast]")?.remove();
});

// A view may answer with HX-Trigger: {"toast": {"state": "handled", "title": "…", "detail": "…"}}.
document.addEventListener("toast", (event) => {
  const { state = "handled", title = "", detail = "" } = event.detail || {};
  say(state, title, detail);
});

const isAction = (event) => (event.detail.requestConfig?.verb || "get") !== "get";
const unchanged = (event) => (isAction(event) ? "Nothing was changed." : "The page shows what it last read.");

const WORDS = {
  401: ["You are signed out.", "Sign in again."],
  403: ["You may not do this.", "It needs a permission you lack, or the page is too old; reload it."],
  404: ["It is not there any more.", ""],
  409: ["Someone else was faster.", "Reload to see what happened."],
  413: ["That is too large.", ""],
  422: ["That was refused.", ""],
  429: ["Too many requests.", "Wait a moment."],
};

document.addEventListener("htmx:responseError", (event) => {
  const status = event.detail.xhr.status;
  const [title, advice] = WORDS[status] || [`The server answered ${status}.`, "Its log has the reason."];
  say("dead", title, `${unchanged(event)} ${advice}`.trim());
});
// A background re-read that fails shows in the live indicator; a toast for each would bury the page.
document.addEventListener("htmx:sendError", (event) => {
  if (isAction(event)) say("dead", "The server cannot be reached.", "It is not known whether the action arrived; repeating it is safe.");
});
document.addEventListener("htmx:timeout", (event) => {
  if (isAction(event)) say("dead", "No answer in 15 s.", "It is not known whether the action arrived; repeating it is safe.");
});
