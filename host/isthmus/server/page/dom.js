// Small helpers: elements, text that came from devices, numbers and times.

/** An element with attributes and children; strings become text, never markup. */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Sets text only where it changed, so that screen readers and selections are left alone. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

/** Text from a device, with what cannot be seen or turns the direction of text spelt out. */
export function clean(text) {
  return String(text).replace(
    /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** A number with so many digits as can be taken in; an en dash where there is none. */
export function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 10 ** (digits - 1) || Number.isInteger(value)) return whole.format(value);
  if (size === 0) return "0";
  if (size < 0.5 * 10 ** -digits) return value.toExponential(1);
  const places = Math.max(0, Math.min(digits, digits - 1 - Math.floor(Math.log10(size))));
  return value.toFixed(places);
}

/** As number(), with decimals for whole values too, so that a column lines up. */
export function decimal(value) {
  const small = Number.isInteger(value) && value > 0 && value < 100;
  return small ? value.toFixed(value < 10 ? 2 : 1) : number(value);
}

export function percent(share) {
  if (share === null || share === undefined) return "–";
  return `${number(100 * share)} %`;
}

/** Seconds as a person says them. */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function ago(seconds) {
  if (seconds < 1.5) return "now";
  if (seconds < 120) return `${Math.round(seconds)} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} d ago`;
}

export function clock(seconds) {
  return new Date(1000 * seconds).toLocaleTimeString("en-GB");
}

/** An answer's largest output in words. */
export function topText(top) {
  if (!top) return "–";
  return `${top.label ? clean(top.label) : `#${top.index}`} (${number(top.value)})`;
}
