// A state diagram wider than its panel opens on the current state; where it was scrolled since stays.
for (const view of document.querySelectorAll("[data-diagram]")) {
  const now = view.querySelector(".node.is-now")?.getBoundingClientRect();
  if (now) view.scrollLeft += now.left + now.width / 2 - (view.getBoundingClientRect().left + view.clientWidth / 2);
}
