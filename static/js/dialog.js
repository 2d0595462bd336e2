const WANTED = "signalbox:dialog";

// <button data-dialog="id"> opens <dialog id>. data-close closes it, so do esc and a click outside.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener) {
    const nav = document.getElementById("nav");
    if (nav?.matches(":popover-open")) nav.hidePopover();
    const dialog = document.getElementById(opener.dataset.dialog);
    if (!dialog) {
      // The page has moved on since it was opened, its dialogs are of then. Read again, it opens this one.
      try { sessionStorage.setItem(WANTED, `${location.pathname} ${opener.dataset.dialog}`); } catch { /* private mode */ }
      location.reload();
    } else if (!dialog.open) {
      dialog.dispatchEvent(new CustomEvent("dialog:opening", { bubbles: true, detail: { opener } }));
      dialog.showModal();
    }
    return;
  }
  if (event.target.closest("[data-close]")) event.target.closest("dialog")?.close();
  else if (event.target instanceof HTMLDialogElement && event.target.open) {
    const box = event.target.getBoundingClientRect();
    const isInside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    if (!isInside) event.target.close();
  }
});
// A dialog that a partial brings along opens by itself: <dialog data-open>.
function openBrought() {
  for (const dialog of document.querySelectorAll("dialog[data-open]:not([open])")) {
    dialog.removeAttribute("data-open");
    dialog.showModal();
  }
}
document.addEventListener("htmx:afterSettle", openBrought);
openBrought();
try {
  const [path, id] = (sessionStorage.getItem(WANTED) || "").split(" ");
  sessionStorage.removeItem(WANTED);
  if (path === location.pathname) document.getElementById(id)?.showModal();
} catch { /* private mode */ }
