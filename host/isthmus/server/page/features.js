// The chosen device: a heat map of its decoded feature channels beside its answer.

import { ago, byId, clean, el, number, percent, setHidden, setText } from "./dom.js";

// Viridis at nine places: even steps in lightness, read alike by the colour-blind and in print.
const STOPS = [
  [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141],
  [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37],
];
const GAP = 6;
const LABEL = 13;
const SMALL = 24; // pixels, the least that a channel is wide where there are many

/** The colour of a share of the scale, 0..1. */
export function colour(share) {
  const at = Math.max(0, Math.min(1, share)) * (STOPS.length - 1);
  const k = Math.min(STOPS.length - 2, Math.floor(at));
  return STOPS[k].map((low, c) => Math.round(low + (at - k) * (STOPS[k + 1][c] - low)));
}

function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

/** Shares of the scale for each level, from the values that they stand for. */
function shares(values) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  return values.map((v) => (high > low ? (v - low) / (high - low) : 0));
}

export class DeviceView {
  constructor(turned) {
    this.turned = turned;
    this.canvas = byId("features");
    this.features = null;
    this.cell = null;
    this.layout = null;
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.setCell(null));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("blur", () => this.setCell(null));
    byId("features-back").addEventListener("click", () => this.turned(this.features.first - this.features.count));
    byId("features-on").addEventListener("click", () => this.turned(this.features.first + this.features.count));
    new ResizeObserver(() => this.draw()).observe(this.canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Nothing chosen: the table has the room. */
  clear() {
    this.features = null;
    setHidden(byId("device"), true);
  }

  /** A device that is named and not yet, or no longer, known. */
  waiting(name, text) {
    setHidden(byId("device"), false);
    setText(byId("device-title"), clean(name));
    setText(byId("device-hint"), text);
    setHidden(byId("device-hint"), false);
    setHidden(byId("device-body"), true);
  }

  show(device, now) {
    if (!device.answer) {
      this.waiting(device.name, device.frames ? "Its last frame is no longer kept; the next one will be shown." : `No frame of it was answered. Last refusal: ${device.error || "none"}.`);
      return;
    }
    setText(byId("device-title"), clean(device.name));
    setHidden(byId("device"), false);
    setHidden(byId("device-hint"), true);
    setHidden(byId("device-body"), false);
    const a = device.answer;
    const facts = [
      `${clean(a.model)} ${a.version}`, `${device.link}`, `sequence ${a.sequence}`, `rung ${a.rung}`,
      `${number(a.bits_per_element)} bits/element (${number(a.frame_bytes)} bytes)`,
      `${number(a.timings_ms.total)} ms: queue ${number(a.timings_ms.queue)}, decode ${number(a.timings_ms.decode)}, compute ${number(a.timings_ms.compute)}`,
    ];
    if (a.slices_lost) facts.push(`${a.slices_lost} ${a.slices_lost === 1 ? "slice" : "slices"} lost, ${percent(a.concealed_share)} of elements concealed`);
    facts.push(ago(now - device.time));
    setText(byId("device-facts"), facts.join(" · "));
    this.setFeatures(device.features);
    this.showAnswer(device);
  }

  setFeatures(given) {
    const f = { ...given, levels: bytes(given.levels), received: given.received === null ? null : bytes(given.received) };
    f.shares = shares(f.values);
    this.features = f;
    const every = f.step > 1 ? `, every ${f.step}th row and column` : "";
    const which = f.count < f.channels ? `channels ${f.first}–${f.first + f.count - 1} of ${f.channels}` : `${f.channels} channel${f.channels === 1 ? "" : "s"}`;
    const what = f.shape.length === 1 ? `${f.shape[0]} elements` : `${which} of ${f.height}×${f.width}${every}`;
    setText(byId("features-title"), `Decoded features: ${what}`);
    setHidden(byId("features-pages"), f.count >= f.channels);
    byId("features-back").disabled = f.first === 0;
    byId("features-on").disabled = f.first + f.count >= f.channels;
    if (this.cell && (this.cell.c >= f.count || this.cell.y >= f.height || this.cell.x >= f.width)) this.cell = null;
    this.legend();
    this.draw();
  }

  isMissing(k) {
    const bits = this.features.received;
    return bits !== null && !((bits[k >> 3] >> (7 - (k & 7))) & 1);
  }

  /** The fewest columns with which all channels fit the height that is wanted, or small ones do not. */
  arrange(width) {
    const { count, height, width: across } = this.features;
    for (let columns = 1; ; columns += 1) {
      const side = Math.floor((width + GAP) / columns) - GAP;
      const scale = side >= across ? Math.floor(side / across) : side / across;
      const [w, h] = [Math.max(1, Math.round(scale * across)), Math.max(height === 1 ? 18 : 1, Math.round(scale * height))];
      const rows = Math.ceil(count / columns);
      const total = rows * (h + LABEL + GAP) - GAP;
      const next = Math.floor((width + GAP) / (columns + 1)) - GAP;
      if (total <= 400 || columns >= count || next < SMALL) return { columns, rows, w, h, total, left: 0 };
    }
  }

  draw() {
    const f = this.features;
    const width = Math.floor(this.canvas.parentElement.clientWidth);
    if (!f || width < 40) return;
    const lay = this.arrange(width);
    this.layout = lay;
    const ratio = window.devicePixelRatio || 1;
    const [pw, ph] = [Math.round(width * ratio), Math.round(lay.total * ratio)];
    if (this.canvas.width !== pw || this.canvas.height !== ph) {
      Object.assign(this.canvas, { width: pw, height: ph });
      Object.assign(this.canvas.style, { width: `${width}px`, height: `${lay.total}px` });
    }
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, lay.total);
    context.imageSmoothingEnabled = false;
    const style = getComputedStyle(this.canvas);
    const hatch = hatching(context, style.getPropertyValue("--hatch-back"), style.getPropertyValue("--hatch"));
    context.font = "10px system-ui, sans-serif";
    context.textBaseline = "bottom";
    const size = f.height * f.width;
    const picture = new OffscreenCanvas(f.width, f.height);
    const inside = picture.getContext("2d");
    const palette = f.shares.map(colour);
    let missing = 0;
    for (let c = 0; c < f.count; c += 1) {
      const x0 = (c % lay.columns) * (Math.floor((width + GAP) / lay.columns));
      const y0 = Math.floor(c / lay.columns) * (lay.h + LABEL + GAP) + LABEL;
      const pixels = inside.createImageData(f.width, f.height);
      for (let k = 0; k < size; k += 1) {
        const [r, g, b] = palette[f.levels[c * size + k]];
        pixels.data.set([r, g, b, 255], 4 * k);
      }
      inside.putImageData(pixels, 0, 0);
      context.drawImage(picture, x0, y0, lay.w, lay.h);
      context.fillStyle = style.color;
      context.fillText(String(f.first + c), x0, y0 - 1);
      missing += this.hatchMissing(context, hatch, c, x0, y0);
    }
    if (this.cell) this.outline(context, style.color, width);
    this.canvas.dataset.missing = String(missing);
    const gaps = f.received === null ? "all arrived" : `${missing} of ${f.count * size} elements did not arrive`;
    this.canvas.setAttribute("aria-label", `Heat map of ${f.count} feature channels of ${f.height} by ${f.width}, values ${number(Math.min(...f.values))} to ${number(Math.max(...f.values))}; ${gaps}`);
  }

  /** Hatches the runs of a channel that did not arrive; gives how many elements those are. */
  hatchMissing(context, hatch, c, x0, y0) {
    const f = this.features;
    if (f.received === null) return 0;
    const [sx, sy] = [this.layout.w / f.width, this.layout.h / f.height];
    let count = 0;
    context.fillStyle = hatch;
    for (let y = 0; y < f.height; y += 1) {
      for (let x = 0; x < f.width; ) {
        let end = x;
        while (end < f.width && this.isMissing((c * f.height + y) * f.width + end)) end += 1;
        if (end > x) context.fillRect(x0 + x * sx, y0 + y * sy, (end - x) * sx, sy);
        count += end - x;
        x = Math.max(end, x + 1);
      }
    }
    return count;
  }

  outline(context, ink, width) {
    const { c, y, x } = this.cell;
    const f = this.features;
    const lay = this.layout;
    const x0 = (c % lay.columns) * (Math.floor((width + GAP) / lay.columns)) + (x * lay.w) / f.width;
    const y0 = Math.floor(c / lay.columns) * (lay.h + LABEL + GAP) + LABEL + (y * lay.h) / f.height;
    context.lineWidth = 2;
    context.strokeStyle = ink;
    context.strokeRect(x0 - 1, y0 - 1, lay.w / f.width + 2, lay.h / f.height + 2);
  }

  point(event) {
    const f = this.features;
    const lay = this.layout;
    if (!f || !lay) return;
    const box = this.canvas.getBoundingClientRect();
    const pitch = Math.floor((box.width + GAP) / lay.columns);
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    const [column, row] = [Math.floor(px / pitch), Math.floor(py / (lay.h + LABEL + GAP))];
    const x = Math.floor(((px - column * pitch) * f.width) / lay.w);
    const y = Math.floor(((py - row * (lay.h + LABEL + GAP) - LABEL) * f.height) / lay.h);
    const c = row * lay.columns + column;
    const inside = column < lay.columns && c < f.count && x >= 0 && x < f.width && y >= 0 && y < f.height;
    this.setCell(inside ? { c, y, x } : null);
  }

  key(event) {
    const f = this.features;
    const moves = { ArrowLeft: [0, 0, -1], ArrowRight: [0, 0, 1], ArrowUp: [0, -1, 0], ArrowDown: [0, 1, 0], PageUp: [-1, 0, 0], PageDown: [1, 0, 0] };
    const move = moves[event.key];
    if (!f || !move) return;
    event.preventDefault();
    const at = this.cell ?? { c: 0, y: 0, x: 0 };
    const bound = (v, most) => Math.max(0, Math.min(most - 1, v));
    this.setCell(this.cell ? { c: bound(at.c + move[0], f.count), y: bound(at.y + move[1], f.height), x: bound(at.x + move[2], f.width) } : at);
  }

  setCell(cell) {
    this.cell = cell;
    this.draw();
    const f = this.features;
    if (!f) return;
    let text = "Point at an element, or use the arrow keys; Page Up and Page Down change the channel.";
    if (cell) {
      const k = (cell.c * f.height + cell.y) * f.width + cell.x;
      const level = f.levels[k];
      const what = this.isMissing(k) ? "did not arrive" : `${number(f.values[level])} (level ${level})`;
      const place = f.shape.length === 1 ? `Element ${cell.y * f.width + cell.x}` : `Channel ${f.first + cell.c}, row ${cell.y * f.step}, column ${cell.x * f.step}`;
      text = `${place}: ${what}`;
    }
    setText(byId("features-cell"), text);
  }

  legend() {
    const f = this.features;
    const box = byId("legend");
    const key = `${f.values.join()}|${f.received !== null}`;
    if (box.dataset.key === key) return;
    box.dataset.key = key;
    box.replaceChildren();
    if (f.values.length <= 10) {
      f.values.forEach((value, k) => box.append(key1(colour(f.shares[k]), number(value))));
    } else {
      const bar = el("span", { class: "scale" });
      bar.style.background = `linear-gradient(to right, ${STOPS.map((c) => `rgb(${c})`).join(",")})`;
      box.append(number(Math.min(...f.values)), bar, number(Math.max(...f.values)), el("span", { class: "quiet" }, ` ${f.values.length} levels`));
    }
    if (f.received !== null) box.append(el("span", { class: "key" }, el("span", { class: "swatch hatched" }), "did not arrive"));
  }

  showAnswer(device) {
    const { rows, name, count } = device.outputs;
    setText(byId("answer-title"), name ? `Answer: ${clean(name)}` : "Answer");
    const values = rows.map((row) => row.value ?? 0);
    const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
    const span = high - low || 1;
    const best = values.indexOf(Math.max(...values));
    const body = el("tbody");
    rows.forEach((row, k) => {
      const bar = el("span", { class: "bar" });
      bar.style.marginLeft = `${(100 * (Math.min(0, values[k]) - low)) / span}%`;
      bar.style.width = `${(100 * Math.abs(values[k])) / span}%`;
      const label = row.label ? clean(row.label) : `#${row.index}`;
      const head = el("th", { scope: "row", title: `${label} (output ${row.index})` }, el("bdi", {}, label));
      body.append(el("tr", { class: k === best ? "best" : null }, head, el("td", { class: "bars", "aria-hidden": "true" }, bar), el("td", { class: "right" }, number(row.value))));
    });
    const columns = el("colgroup", {}, el("col", { class: "labels" }), el("col"), el("col", { class: "values" }));
    byId("answer").replaceChildren(el("caption", { class: "hidden" }, "Outputs and their values"), columns, body);
    setText(byId("answer-note"), count !== null && count > rows.length ? `The largest ${rows.length} of ${number(count)}` : "");
  }
}

function key1([r, g, b], text) {
  const swatch = el("span", { class: "swatch" });
  swatch.style.background = `rgb(${r},${g},${b})`;
  return el("span", { class: "key" }, swatch, text);
}

function hatching(context, back, ink) {
  const tile = new OffscreenCanvas(6, 6);
  const c = tile.getContext("2d");
  c.fillStyle = back;
  c.fillRect(0, 0, 6, 6);
  c.strokeStyle = ink;
  c.lineWidth = 1.4;
  c.beginPath();
  for (const k of [-6, 0, 6]) {
    c.moveTo(k - 1, 7);
    c.lineTo(k + 7, -1);
  }
  c.stroke();
  return context.createPattern(tile, "repeat");
}
