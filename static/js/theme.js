// Runs before the first paint, so that a chosen theme never flashes. Not a module: modules wait for the document.
(() => {
  const root = document.documentElement;
  const read = () => { try { return localStorage.getItem("signalbox.theme"); } catch { return null; } };
  const apply = (theme) => { if (theme) root.dataset.theme = theme; else delete root.dataset.theme; };
  apply(read());
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-switch]")) return;
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    const next = (root.dataset.theme || system) === "dark" ? "light" : "dark";
    apply(next);
    // The system's own theme is the default: choosing it again gives the choice back to the system.
    try { if (next === system) localStorage.removeItem("signalbox.theme"); else localStorage.setItem("signalbox.theme", next); } catch { /* private mode */ }
  });
  addEventListener("storage", (event) => { if (event.key === "signalbox.theme") apply(event.newValue); });
})();
