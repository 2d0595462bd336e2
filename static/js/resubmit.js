// CodeMirror over the textarea, which stays the form's field: without this file, or the bundle, it works as it is.
const area = document.querySelector("[data-editor] textarea");
const original = document.getElementById("original")?.content.textContent ?? "";

function hotLines() {
  return (document.getElementById("check")?.dataset.hot || "").split(",").map(Number).filter(Boolean);
}

async function edit() {
  const cm = await import("../vendor/codemirror.js");
  const before = new Set(original.split("\n"));
  const checked = cm.StateEffect.define();
  const wrong = cm.Decoration.line({ class: "is-hot" });
  const changed = cm.Decoration.line({ class: "is-note" });

  function mark(doc, hot) {
    const builder = new cm.RangeSetBuilder();
    for (let number = 1; number <= doc.lines; number += 1) {
      const line = doc.line(number);
      if (hot.includes(number)) builder.add(line.from, line.from, wrong);
      else if (!before.has(line.text)) builder.add(line.from, line.from, changed);
    }
    return builder.finish();
  }
  const marks = cm.StateField.define({
    create: (state) => ({ hot: hotLines(), set: mark(state.doc, hotLines()) }),
    update(value, transaction) {
      const news = transaction.effects.find((effect) => effect.is(checked));
      const hot = news ? news.value : value.hot;
      return news || transaction.docChanged ? { hot, set: mark(transaction.state.doc, hot) } : value;
    },
    provide: (field) => cm.EditorView.decorations.from(field, (value) => value.set),
  });
  // Neutral ink, as everywhere: weight and tone carry the syntax.
  const ink = cm.HighlightStyle.define([
    { tag: cm.tags.propertyName, color: "var(--ink-2)" },
    { tag: [cm.tags.punctuation, cm.tags.separator, cm.tags.bracket], color: "var(--ink-3)" },
  ]);
  const view = new cm.EditorView({
    doc: area.value,
    parent: area.parentElement,
    extensions: [
      cm.lineNumbers(), cm.highlightSpecialChars(), cm.history(), cm.drawSelection(), cm.indentOnInput(), cm.bracketMatching(),
      // Its own style element needs this response's nonce.
      cm.EditorView.cspNonce.of(document.querySelector("script[nonce]")?.nonce ?? ""),
      cm.json(), cm.syntaxHighlighting(ink), cm.highlightActiveLineGutter(), marks,
      cm.keymap.of([...cm.defaultKeymap, ...cm.historyKeymap, cm.indentWithTab]),
      cm.EditorView.contentAttributes.of({ "aria-label": "Edited body, JSON", "aria-describedby": "check" }),
      cm.EditorView.updateListener.of((update) => {
        if (!update.docChanged) return;
        area.value = update.state.doc.toString();
        area.dispatchEvent(new Event("input", { bubbles: true }));
      }),
    ],
  });
  area.hidden = true;
  const replace = (text) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
  const go = (number) => {
    const line = view.state.doc.line(Math.min(number, view.state.doc.lines));
    view.dispatch({ selection: { anchor: line.from, head: line.to }, scrollIntoView: true });
    view.focus();
  };
  return { replace, go, recheck: () => view.dispatch({ effects: checked.of(hotLines()) }) };
}

function plain() {
  return {
    replace(text) {
      area.value = text;
      area.dispatchEvent(new Event("input", { bubbles: true }));
    },
    go(number) {
      const lines = area.value.split("\n");
      const start = lines.slice(0, number - 1).reduce((sum, line) => sum + line.length + 1, 0);
      area.focus();
      area.setSelectionRange(start, start + (lines[number - 1] || "").length);
    },
    recheck() {},
  };
}

function label() {
  const chosen = document.querySelector("input[name=audience]:checked");
  const button = document.querySelector("[data-send]");
  if (chosen && button) button.textContent = chosen.dataset.button;
}

function addHeader() {
  const row = document.querySelector("#copy-headers tr:last-child");
  const copy = row.cloneNode(true);
  for (const input of copy.querySelectorAll("input")) input.value = "";
  row.after(copy);
  copy.querySelector("input").focus();
}

if (area) {
  const editor = await edit().catch(plain);
  document.addEventListener("htmx:afterSettle", () => { editor.recheck(); label(); });
  document.addEventListener("change", (event) => { if (event.target.name === "audience") label(); });
  document.addEventListener("click", (event) => {
    const go = event.target.closest("[data-go-line]");
    if (go) editor.go(Number(go.dataset.goLine));
    if (event.target.closest("[data-undo]")) {
      event.preventDefault();
      editor.replace(original);
    }
    if (event.target.closest("[data-add-header]")) addHeader();
  });
  const adder = document.querySelector("[data-add-header]");
  if (adder) adder.hidden = false;
  // Saying that edits would be lost; sending them is not losing them.
  let isSending = false;
  document.getElementById("edit").addEventListener("submit", () => { isSending = true; });
  addEventListener("beforeunload", (event) => { if (!isSending && area.value !== original) event.preventDefault(); });
}
