// Icons for parts that are made in the browser.
export const sprite = (name) => `${document.body.dataset.sprite}#i-${name}`;

export function icon(name, classes = "") {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `i ${classes}`.trim());
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", sprite(name));
  svg.append(use);
  return svg;
}
