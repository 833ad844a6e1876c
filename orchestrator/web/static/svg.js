// Shapes and words as SVG.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  pending: "○", running: "▶", waiting: "◔", succeeded: "✓", failed: "✕", cancelled: "⊘", skipped: "»",
};

export function icon(state) {
  return ICONS[state] ?? "○";
}

export function make(name, attributes = {}, parent = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent?.append(element);
  return element;
}

// Text that ends with "…" where it would be wider than the pixels there are.
export class Ruler {
  constructor(host) {
    this.context = document.createElement("canvas").getContext("2d");
    this.family = getComputedStyle(host).fontFamily;
  }

  fit(text, room, font) {
    this.context.font = `${font} ${this.family}`;
    if (this.context.measureText(text).width <= room) return text;
    let [low, high] = [0, text.length];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.context.measureText(`${text.slice(0, middle)}…`).width <= room) low = middle;
      else high = middle - 1;
    }
    return `${text.slice(0, low)}…`;
  }
}
