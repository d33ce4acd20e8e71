// Small line plots in SVG: axes with units, a legend with the values under the pointer or the last.

import { el, number, setText } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 128;
const LEFT = 44;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 20;

function svg(name, attributes = {}) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

/** A round number not below value, the step of ticks (1, 2, 2.5 or 5 times a power of ten), digits. */
export function niceAxis(value, least) {
  const top = Math.max(value, least);
  const raw = top / 3;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const digits = [0, 1, 2, 3, 4, 5].find((d) => Math.abs(step * 10 ** d - Math.round(step * 10 ** d)) < 1e-6) ?? 6;
  return { top: step * Math.ceil(top / step - 1e-9), step, digits };
}

export class Plot {
  /** lines: [{key, label}]; read(state) gives {key: [numbers or null]} of equal length. */
  constructor(parent, { title, unit, lines, read, least = 1 }) {
    Object.assign(this, { title, unit, lines, read, least, data: null, at: null });
    this.values = new Map();
    const legend = el("ul", { class: "keys" });
    lines.forEach((line, k) => {
      const value = el("b", {}, "–");
      this.values.set(line.key, value);
      const item = el("li", {}, el("span", { class: `swatch line${k}`, "aria-hidden": "true" }), `${line.label} `, value);
      legend.append(item);
    });
    this.when = el("span", { class: "when" });
    this.box = el("div", { class: "plot" });
    this.figure = el(
      "figure",
      { class: "card" },
      el("figcaption", {}, el("span", { class: "plot-title" }, title), el("span", { class: "quiet" }, ` ${unit}`), this.when),
      this.box,
      legend,
    );
    parent.append(this.figure);
    this.box.addEventListener("pointermove", (event) => this.point(event));
    this.box.addEventListener("pointerleave", () => this.leave());
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  update(state) {
    this.data = this.read(state);
    this.draw();
  }

  point(event) {
    if (!this.data) return;
    const count = this.data[this.lines[0].key].length;
    const box = this.box.getBoundingClientRect();
    const part = (event.clientX - box.left - LEFT) / Math.max(1, box.width - LEFT - RIGHT);
    this.at = Math.max(0, Math.min(count - 1, Math.round(part * (count - 1))));
    this.draw();
  }

  leave() {
    this.at = null;
    this.draw();
  }

  draw() {
    const width = Math.floor(this.box.clientWidth);
    if (!this.data || width < 80) return;
    const series = this.lines.map((line) => this.data[line.key]);
    const count = series[0].length;
    const largest = Math.max(0, ...series.flat().filter((v) => v !== null));
    const axis = niceAxis(largest, this.least);
    const x = (k) => LEFT + ((width - LEFT - RIGHT) * k) / (count - 1);
    const y = (v) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - v / axis.top);
    const root = svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img" });
    for (let tick = 0; tick <= axis.top * 1.001; tick += axis.step) {
      root.append(svg("line", { class: tick ? "grid" : "axis", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }));
      const label = svg("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" });
      label.textContent = tick.toFixed(axis.digits);
      root.append(label);
    }
    for (let seconds = 0; seconds <= count; seconds += 30) {
      const at = x(Math.max(0, count - 1 - seconds));
      root.append(svg("line", { class: "axis", x1: at, x2: at, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4 }));
      const anchor = seconds === 0 ? "end" : seconds >= count - 1 ? "start" : "middle";
      const label = svg("text", { x: at, y: HEIGHT - 4, "text-anchor": anchor });
      label.textContent = seconds === 0 ? "now" : `−${seconds} s`;
      root.append(label);
    }
    series.forEach((values, k) => {
      for (const path of paths(values, x, y)) root.append(svg("path", { class: `line line${k}`, d: path }));
    });
    if (this.at !== null) root.append(svg("line", { class: "cursor", x1: x(this.at), x2: x(this.at), y1: TOP, y2: HEIGHT - BOTTOM }));
    const words = this.legend(count);
    root.setAttribute("aria-label", `${this.title}, ${this.unit}, the last ${count} seconds. ${words}`);
    this.box.replaceChildren(root);
  }

  legend(count) {
    const at = this.at === null ? count - 1 : this.at;
    setText(this.when, this.at === null ? "" : `${count - at} s ago`);
    return this.lines
      .map((line) => {
        const text = number(this.data[line.key][at]);
        setText(this.values.get(line.key), text);
        return `${line.label}: ${text}`;
      })
      .join(", ");
  }
}

/** One path for every run of numbers; a lone number becomes a dot. */
function paths(values, x, y) {
  const out = [];
  let path = "";
  let length = 0;
  const end = () => {
    if (length === 1) path += "h0.01";
    if (length) out.push(path);
    path = "";
    length = 0;
  };
  values.forEach((value, k) => {
    if (value === null) return end();
    path += `${length ? "L" : "M"}${x(k).toFixed(1)} ${y(value).toFixed(1)}`;
    length += 1;
  });
  end();
  return out;
}
