// Asks the server once a second, more rarely while it does not answer, and hands out what it says.

import { byId, clean, clock, duration, el, number, setHidden, setText } from "./dom.js";
import { DeviceView } from "./features.js";
import { PictureView } from "./picture.js";
import { Plot } from "./plot.js";
import { DeviceTable, showAnswers, showModels, showRefusals } from "./tables.js";

const PERIOD = 1000;
const LONGEST = 30000;
const TIMEOUT = 5000;
const TOKEN = "isthmus-token";

const rate = { key: "frames", label: "answered" };
const plots = [
  { title: "Frames", unit: "a second", lines: [rate, { key: "refused", label: "refused" }], read: (s) => s.series, least: 4 },
  {
    title: "Latency", unit: "ms, arrival to answer", least: 0.01,
    lines: [{ key: "p50", label: "median" }, { key: "p90", label: "90 %" }, { key: "p99", label: "99 %" }],
    read: (s) => s.series.latency_ms.total,
  },
  {
    title: "Latency by part", unit: "ms, 99th percentile", least: 0.01,
    lines: ["queue", "decode", "compute", "total"].map((key) => ({ key, label: key })),
    read: (s) => Object.fromEntries(Object.entries(s.series.latency_ms).map(([stage, shares]) => [stage, shares.p99])),
  },
  { title: "Rate", unit: "bits per element", lines: [{ key: "bits", label: "mean" }], read: (s) => s.series, least: 0.1 },
  { title: "Slices lost", unit: "a second", lines: [{ key: "lost", label: "lost" }], read: (s) => s.series, least: 4 },
  {
    title: "Concealed", unit: "% of elements", lines: [{ key: "concealed", label: "concealed" }], least: 1,
    read: (s) => ({ concealed: s.series.concealed.map((v) => (v === null ? null : 100 * v)) }),
  },
].map((what) => new Plot(byId("plots"), what));

const devices = new DeviceTable(choose, soon);
const view = new DeviceView((first) => {
  chosenFirst = Math.max(0, first);
  soon();
});

const picture = new PictureView(ask);

let chosen = "";
let chosenFirst = 0;
let timer = 0;
let busy = false;
let again = false;
let failures = 0;
let lastGood = 0;
let nextTry = 0;
let token = sessionStorage.getItem(TOKEN) ?? "";

const tiles = new Map(
  ["Frames a second", "Answered", "Refused", "Devices", "Bits per element", "Latency, 99 %", "Waiting"].map((label) => {
    const value = el("dd", {}, "–");
    byId("tiles").append(el("div", {}, el("dt", {}, label), value));
    return [label, value];
  }),
);

async function ask(path, query) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const response = await fetch(`${path}?${new URLSearchParams(query)}`, {
    headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT),
  });
  if (response.status === 401) throw new Unauthorized();
  return response;
}

class Unauthorized extends Error {}

async function poll() {
  clearTimeout(timer);
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  again = false;
  try {
    const query = { model: byId("model").value, sort: devices.sort, order: devices.descending ? "desc" : "asc", search: byId("search").value };
    const response = await ask("api/state", query);
    if (!response.ok) throw new Error(`status ${response.status}`);
    const state = await response.json();
    show(state);
    if (chosen) await showChosen(state.time);
    failures = 0;
    lastGood = Date.now();
    here();
  } catch (error) {
    failed(error);
  }
  busy = false;
  const wait = again ? 0 : failures ? Math.min(LONGEST, PERIOD * 2 ** (failures - 1)) : PERIOD;
  nextTry = Date.now() + wait;
  if (!document.hidden) timer = setTimeout(poll, wait);
}

function soon() {
  if (failures === 0) poll();
}

async function showChosen(now) {
  const name = chosen;
  const response = await ask("api/device", { name, first: chosenFirst });
  if (name !== chosen) return;
  if (response.ok) {
    const device = await response.json();
    view.show(device, now);
    await picture.show(device);
  } else if (response.status < 500) view.waiting(name, "The server does not know this device, or no longer.");
  else throw new Error(`status ${response.status}`);
}

function show(state) {
  const minute = state.minute;
  const frames = state.series.frames;
  const values = {
    "Frames a second": number(frames[frames.length - 1]),
    Answered: number(state.frames),
    Refused: number(state.refused),
    Devices: number(state.devices.total),
    "Bits per element": number(minute.bits_per_element),
    "Latency, 99 %": minute.latency_ms.total.p99 === null ? "–" : `${number(minute.latency_ms.total.p99)} ms`,
    Waiting: number(state.queue),
  };
  for (const [label, value] of Object.entries(values)) setText(tiles.get(label), value);
  setText(byId("uptime"), `up ${duration(state.uptime_s)}`);
  status(state.ready === false ? "Not taking frames" : "Ready", state.ready === false ? "warn" : "good");
  models(state);
  for (const plot of plots) plot.update(state);
  devices.show(state);
  showModels(state);
  showRefusals(state);
  showAnswers(state);
}

function models(state) {
  const select = byId("model");
  const names = state.models.map((m) => `${m.name} ${m.version}`);
  if (select.dataset.names === names.join("\n")) return;
  select.dataset.names = names.join("\n");
  const before = select.value;
  select.replaceChildren(el("option", { value: "" }, "All models"), ...names.map((n) => el("option", { value: n }, clean(n))));
  select.value = names.includes(before) ? before : "";
}

function status(text, kind) {
  const node = byId("status");
  setText(node, text);
  node.className = `pill ${kind}`;
}

function here() {
  setHidden(byId("gone"), true);
  setHidden(byId("token"), true);
  byId("main").classList.remove("stale");
  setText(document.querySelector("title"), "Isthmus");
}

function failed(error) {
  failures += 1;
  const wants = error instanceof Unauthorized;
  setHidden(byId("token"), !wants);
  if (wants) {
    setHidden(byId("gone"), true);
    status("Token needed", "warn");
    return;
  }
  byId("main").classList.add("stale");
  status("Server gone", "bad");
  setText(document.querySelector("title"), "Gone: Isthmus");
  const since = lastGood ? `since ${clock(lastGood / 1000)}` : "yet";
  setText(byId("gone"), `The server has not answered ${since}. What is below is old. Trying again, at most ${LONGEST / 1000} s apart.`);
  setHidden(byId("gone"), false);
}

function choose(name, { focus = true } = {}) {
  chosen = name;
  chosenFirst = 0;
  picture.clear();
  devices.setChosen(name);
  history.replaceState(null, "", name ? `#${new URLSearchParams({ device: name })}` : location.pathname + location.search);
  if (!name) {
    view.clear();
    return;
  }
  view.waiting(name, "Loading.");
  if (focus && matchMedia("(max-width: 900px)").matches) {
    byId("device-title").focus({ preventScroll: true });
    byId("device").scrollIntoView({ block: "start" });
  }
  soon();
}

byId("device-close").addEventListener("click", () => choose(""));
byId("model").addEventListener("change", soon);
let typing = 0;
byId("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(soon, 150);
});
byId("token").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token-value").value.trim();
  sessionStorage.setItem(TOKEN, token);
  byId("token-value").value = "";
  failures = 0;
  poll();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && Date.now() >= nextTry) poll();
  else if (!document.hidden) timer = setTimeout(poll, nextTry - Date.now());
});

const linked = new URLSearchParams(location.hash.slice(1)).get("device");
if (linked) choose(linked, { focus: false });
else poll();
