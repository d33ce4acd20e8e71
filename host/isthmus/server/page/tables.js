// The tables: devices (sorted and filtered by the server), models, refusals, last answers.

import { ago, byId, clean, clock, decimal, el, number, percent, setText, topText } from "./dom.js";

/** Rewrites the body of a plain table; rows are lists of strings or nodes. */
function fill(table, heads, rows, empty) {
  if (!table.tHead) {
    const cells = heads.map(({ text, side, note }) => el("th", { scope: "col", class: side ?? null, title: note ?? null }, text));
    table.append(el("thead", {}, el("tr", {}, ...cells)), el("tbody"));
  }
  const body = table.tBodies[0];
  const shown = rows.map((row) => row.map((cell) => (cell instanceof Node ? cell.textContent : cell)).join("\u0001")).join("\u0002");
  if (table.dataset.shown === shown) return;
  table.dataset.shown = shown;
  if (!rows.length) {
    body.replaceChildren(el("tr", {}, el("td", { colspan: heads.length, class: "empty" }, empty)));
    return;
  }
  body.replaceChildren(
    ...rows.map((row) => el("tr", {}, ...row.map((cell, k) => el("td", { class: heads[k].side ?? null }, cell)))),
  );
}

const right = "right";

export function showModels(state) {
  const heads = [
    { text: "Model" }, { text: "Version" }, { text: "Tensor" }, { text: "Levels" }, { text: "Classes", side: right },
    { text: "Frames", side: right }, { text: "Frames/s", side: right, note: "over the last minute" },
    { text: "Bits/element", side: right, note: "over the last minute" }, { text: "Slices lost", side: right },
    { text: "Concealed", side: right, note: "share of elements, over the last minute" },
    { text: "In the last cell", side: right, note: "share of elements of each rung over the last minute, beside the calibration set's: more than there means inputs that drift" },
  ];
  const rows = state.models.map((m) => [
    clean(m.name), m.version, `${m.shape.join("×")} ${m.dtype}`, m.levels.join(", "), m.labels ? number(m.labels) : "no names",
    number(m.frames), decimal(m.frames_per_s), decimal(m.bits_per_element), number(m.slices_lost), percent(m.concealed_share), clipText(m.clip),
  ]);
  fill(byId("models"), heads, rows, "No models");
}

function clipText(clip) {
  const seen = clip.filter((one) => one.last !== null);
  if (!seen.length) return "–";
  return seen
    .map((one) => {
      const known = one.calibrated_last === null ? "" : ` (calibrated ${percent(one.calibrated_last)})`;
      return `${clip.length > 1 ? `rung ${one.rung}: ` : ""}${percent(one.last)}${known}`;
    })
    .join("; ");
}

export function showRefusals(state) {
  const rows = state.refusals.map((r) => [String(r.code), r.name, number(r.count), r.model ? clean(r.model) : "–", r.text]);
  const heads = [{ text: "Code", side: right }, { text: "Name" }, { text: "Count", side: right }, { text: "Model" }, { text: "What it means" }];
  fill(byId("refusals"), heads, rows, "Nothing was refused");
  const last = state.last_refusals.map((r) => [clock(r.time), name(r.device), r.link, `${r.code} ${r.name}`, clean(r.text)]);
  const lastHeads = [{ text: "Time" }, { text: "Device" }, { text: "Link" }, { text: "Code" }, { text: "What was wrong" }];
  fill(byId("last-refusals"), lastHeads, last, "Nothing was refused");
}

export function showAnswers(state) {
  const rows = state.answers.map((a) => [
    clock(a.time), name(a.device), topText(a.top[0]), String(a.sequence), decimal(a.bits_per_element), decimal(a.timings_ms.total),
  ]);
  const heads = [
    { text: "Time" }, { text: "Device" }, { text: "Answer" }, { text: "Sequence", side: right },
    { text: "Bits/element", side: right }, { text: "Latency, ms", side: right },
  ];
  fill(byId("answers"), heads, rows, "No answers yet");
}

const name = (text) => el("bdi", {}, clean(text) || "(no name)");

const COLUMNS = [
  { key: "name", text: "Device" },
  { key: null, text: "Last answer", read: (d) => (d.top ? topText(d.top) : d.error || "–") },
  { key: "rate", text: "Frames/s", side: right, read: (d) => decimal(d.rate) },
  { key: "bits", text: "Bits/el.", side: right, note: "bits per element, running mean", read: (d) => (d.frames ? decimal(d.bits) : "–") },
  { key: "latency", text: "Latency, ms", side: right, note: "arrival to answer, running mean", read: (d) => (d.frames ? decimal(d.latency_ms) : "–") },
  { key: "lost", text: "Lost", side: right, note: "slices or packets that did not come", read: (d) => number(d.slices_lost) },
  { key: "refused", text: "Refused", side: right, read: (d) => number(d.refused) },
  { key: "frames", text: "Frames", side: right, read: (d) => number(d.frames) },
  { key: "link", text: "Link", read: (d) => d.link },
  { key: "model", text: "Model", read: (d) => clean(d.model) || "–" },
  { key: "seen", text: "Seen", side: right, read: (d, now) => ago(now - d.seen) },
];
//: Columns that are read from the largest down.
const DOWN = new Set(["rate", "bits", "latency", "lost", "refused", "frames", "seen"]);

export class DeviceTable {
  /** choose(name) is called for a device, changed() when other rows are wanted. */
  constructor(choose, changed) {
    this.choose = choose;
    this.changed = changed;
    this.sort = "name";
    this.descending = false;
    this.rows = new Map();
    this.chosen = "";
    this.table = byId("device-table");
    this.heads = COLUMNS.map((column) => this.head(column));
    this.body = el("tbody");
    this.table.append(el("caption", { class: "hidden" }, "Devices; choose one for its features and answer"), el("thead", {}, el("tr", {}, ...this.heads)), this.body);
    this.mark();
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-at]");
      if (row) this.choose(row.device);
    });
  }

  head(column) {
    const cell = el("th", { scope: "col", class: column.side ?? null, title: column.note ?? null });
    if (!column.key) {
      cell.append(column.text);
      return cell;
    }
    const button = el("button", { type: "button" }, column.text, el("span", { class: "arrow", "aria-hidden": "true" }));
    button.addEventListener("click", () => {
      this.descending = this.sort === column.key ? !this.descending : DOWN.has(column.key);
      this.sort = column.key;
      this.mark();
      this.changed();
    });
    cell.append(button);
    return cell;
  }

  mark() {
    COLUMNS.forEach((column, k) => {
      if (!column.key) return;
      const active = column.key === this.sort;
      if (active) this.heads[k].setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      else this.heads[k].removeAttribute("aria-sort");
      setText(this.heads[k].querySelector(".arrow"), active ? (this.descending ? "▼" : "▲") : "");
    });
  }

  show(state) {
    const { rows, found, total } = state.devices;
    const words = found === total ? `${number(total)}` : `${number(found)} of ${number(total)}`;
    setText(byId("devices-count"), rows.length < found ? `${words}, the first ${rows.length} shown` : words);
    const wanted = rows.map((device) => this.row(device, state.time));
    if (!wanted.length) wanted.push(el("tr", {}, el("td", { colspan: COLUMNS.length, class: "empty" }, total ? "No device matches" : "No device has sent a frame yet")));
    const same = wanted.length === this.body.rows.length && wanted.every((row, k) => row === this.body.rows[k]);
    if (!same) {
      const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
      this.body.replaceChildren(...wanted);
      if (focused && this.body.contains(focused)) focused.focus({ preventScroll: true });
    }
    const kept = new Set(rows.map((device) => device.name));
    for (const key of this.rows.keys()) if (!kept.has(key)) this.rows.delete(key);
  }

  row(device, now) {
    let row = this.rows.get(device.name);
    if (!row) {
      const button = el("button", { type: "button", class: "link" }, name(device.name));
      const cells = COLUMNS.slice(1).map((column) => el("td", { class: column.side ?? null }));
      row = el("tr", { "data-at": "" }, el("th", { scope: "row" }, button), ...cells);
      row.device = device.name;
      this.rows.set(device.name, row);
    }
    COLUMNS.slice(1).forEach((column, k) => setText(row.cells[k + 1], column.read(device, now)));
    row.classList.toggle("silent", now - device.seen > 30);
    row.classList.toggle("failing", device.error !== "" && !device.frames);
    this.markRow(row);
    return row;
  }

  markRow(row) {
    const chosen = row.device === this.chosen;
    row.classList.toggle("chosen", chosen);
    row.querySelector("button").setAttribute("aria-pressed", String(chosen));
  }

  setChosen(device) {
    this.chosen = device;
    for (const row of this.rows.values()) this.markRow(row);
  }
}
