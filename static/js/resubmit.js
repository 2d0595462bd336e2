// Line numbers, colours and the wrong line behind the textarea; without this file the textarea works as it is.
const area = document.querySelector("[data-editor] textarea");
const KEY = /^(\s*)("(?:[^"\\]|\\.)*")(\s*:)(.*)$/;

function line(text, number, isHot, isChanged) {
  const item = document.createElement("li");
  item.dataset.n = String(number);
  if (isHot) item.className = "is-hot"; else if (isChanged) item.className = "is-note";
  const found = KEY.exec(text);
  const span = document.createElement("span");
  if (found) {
    const name = document.createElement("span");
    name.className = "key-name";
    name.textContent = found[2];
    span.append(found[1], name, found[3], found[4]);
  } else span.textContent = text || " ";
  item.append(span);
  return item;
}

if (area) {
  const original = document.getElementById("original").content.textContent;
  const before = new Set(original.split("\n"));
  const list = document.createElement("ol");
  list.setAttribute("aria-hidden", "true");
  area.parentElement.prepend(list);
  area.parentElement.classList.add("is-enhanced");

  const show = () => {
    const hot = new Set((document.getElementById("check")?.dataset.hot || "").split(","));
    const lines = area.value.split("\n");
    list.replaceChildren(...lines.map((text, at) => line(text, at + 1, hot.has(String(at + 1)), !before.has(text))));
    area.rows = Math.min(40, Math.max(8, lines.length + 1));
  };
  const follow = () => { list.scrollTop = area.scrollTop; list.scrollLeft = area.scrollLeft; };
  const changed = () => { show(); area.dispatchEvent(new Event("input", { bubbles: true })); };

  area.addEventListener("input", show);
  area.addEventListener("scroll", follow);
  document.addEventListener("htmx:afterSettle", () => { show(); follow(); label(); });

  // Two spaces instead of leaving the field; escape first gives the key back to the page.
  let isTrapping = true;
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") isTrapping = false;
    if (event.key !== "Tab" || event.shiftKey || !isTrapping) return;
    event.preventDefault();
    area.setRangeText("  ", area.selectionStart, area.selectionEnd, "end");
    changed();
  });
  area.addEventListener("focus", () => { isTrapping = true; });

  document.addEventListener("click", (event) => {
    const go = event.target.closest("[data-go-line]");
    if (go) {
      const at = Number(go.dataset.goLine);
      const start = area.value.split("\n").slice(0, at - 1).join("\n").length + (at > 1 ? 1 : 0);
      area.focus();
      area.setSelectionRange(start, start + area.value.split("\n")[at - 1].length);
    }
    if (event.target.closest("[data-undo]")) {
      event.preventDefault();
      area.value = original;
      changed();
    }
    const add = event.target.closest("[data-add-header]");
    if (add) {
      const row = document.querySelector("#copy-headers tr:last-child");
      const copy = row.cloneNode(true);
      for (const input of copy.querySelectorAll("input")) input.value = "";
      row.after(copy);
      copy.querySelector("input").focus();
    }
  });
  const adder = document.querySelector("[data-add-header]");
  if (adder) adder.hidden = false;

  const label = () => {
    const chosen = document.querySelector("input[name=audience]:checked");
    const button = document.querySelector("[data-send]");
    if (chosen && button) button.textContent = chosen.dataset.button;
  };
  document.addEventListener("change", (event) => { if (event.target.name === "audience") label(); });
  show();
}
