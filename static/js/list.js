// A selection of rows that outlives swaps. Inside the swapped list: <input type=checkbox data-select="id">. Outside it:
//   <div data-selection hidden>  shown while something is selected
//   [data-selection-count]       its number; [data-selection-noun="message|messages"] picks the word
//   [data-selection-clear]       clears; <input data-select-page> selects every row of the page
//   <form data-with-selection>   gets a hidden input "ids" for each selected row when it is sent
const chosen = new Set();
const boxes = () => document.querySelectorAll("input[data-select]");

function show() {
  for (const box of boxes()) {
    box.checked = chosen.has(box.dataset.select);
    box.closest("tr, [data-row]")?.setAttribute("aria-selected", String(box.checked));
  }
  const all = [...boxes()];
  for (const box of document.querySelectorAll("input[data-select-page]")) {
    const some = all.some((row) => row.checked);
    box.checked = all.length > 0 && all.every((row) => row.checked);
    box.indeterminate = some && !box.checked;
  }
  for (const bar of document.querySelectorAll("[data-selection]")) bar.hidden = chosen.size === 0;
  for (const count of document.querySelectorAll("[data-selection-count]")) count.textContent = chosen.size.toLocaleString("en-US");
  for (const noun of document.querySelectorAll("[data-selection-noun]")) {
    noun.textContent = noun.dataset.selectionNoun.split("|")[chosen.size === 1 ? 0 : 1];
  }
  for (const form of document.querySelectorAll("form[data-with-selection]")) {
    for (const old of form.querySelectorAll("input[data-from-selection]")) old.remove();
    for (const id of chosen) {
      const input = document.createElement("input");
      Object.assign(input, { type: "hidden", name: "ids", value: id });
      input.dataset.fromSelection = "";
      form.append(input);
    }
  }
}

function clear() {
  chosen.clear();
  show();
}

document.addEventListener("change", (event) => {
  const { target } = event;
  if (target.matches?.("input[data-select]")) {
    if (target.checked) chosen.add(target.dataset.select); else chosen.delete(target.dataset.select);
    show();
  } else if (target.matches?.("input[data-select-page]")) {
    for (const box of boxes()) if (target.checked) chosen.add(box.dataset.select); else chosen.delete(box.dataset.select);
    show();
  }
});
document.addEventListener("click", (event) => { if (event.target.closest("[data-selection-clear]")) clear(); });
document.addEventListener("selection:clear", clear);
document.addEventListener("htmx:afterSettle", show);
document.addEventListener("dialog:opening", show);
show();
