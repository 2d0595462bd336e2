// The drawer of the list: on narrow screens a row opens its page instead.
const narrow = matchMedia("(max-width: 1120px)");

document.addEventListener("click", (event) => {
  const row = event.target.closest("a[data-drawer]");
  // Stopped before htmx sees it, the link does what links do.
  if (row && narrow.matches) event.stopPropagation();
  const close = event.target.closest("[data-close-drawer]");
  if (!close || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const drawer = document.getElementById("message");
  drawer.hidden = true;
  drawer.replaceChildren();
  delete drawer.dataset.message;
  history.pushState({}, "", close.href);
  mark();
}, true);

function mark() {
  const shown = document.getElementById("message")?.dataset.message;
  for (const row of document.querySelectorAll("#rows [data-row]")) {
    if (row.dataset.row === shown) row.setAttribute("aria-selected", "true"); else row.removeAttribute("aria-selected");
  }
}

document.addEventListener("htmx:afterSettle", mark);
// The list is not kept in the history (its payloads are sensitive): going back reads it again.
addEventListener("popstate", () => { if (document.getElementById("rows")) location.reload(); });
