// Shows the forwards: one line each, those that are not ready first. Rows are kept and changed in place, so that an
// element that has the focus keeps it.

import { copyFrom } from "./clipboard.js";
import { makeDetails } from "./details.js";
import { Traffic } from "./traffic.js";
import { age, at, cell, element, mark, place, resource, shortPlace, write } from "./words.js";

// Links lead only to addresses that portside itself has made.
const OURS = /^https?:\/\/(\[[0-9a-f:.]+\]|[0-9a-z._-]+):\d{1,5}$/i;
const EVERYWHERE = new Set(["0.0.0.0", "::"]);
// Milliseconds. A forward that is not ready for less than this stays in its place.
const TROUBLE_AFTER = 1000;

const rows = new Map();
const troubledSince = new Map();
const traffic = new Traffic();
let forwards = [];

export function drawForwards(records) {
  forwards = records;
  const known = new Set(records.map((record) => record.id));
  for (const [id, parts] of rows) {
    if (!known.has(id)) {
      parts.row.remove();
      parts.details?.row.remove();
      rows.delete(id);
      troubledSince.delete(id);
      traffic.forget(id);
    }
  }
  records.forEach(noteTrouble);
  const ranked = records.map((record) => [rank(record), sortKey(record), record]);
  ranked.sort(([a, x], [b, y]) => a - b || x.localeCompare(y));
  const focused = document.activeElement;
  const body = at("forward-rows");
  let next = body.firstElementChild;
  for (const [, , record] of ranked) {
    if (!rows.has(record.id)) {
      rows.set(record.id, makeRow(record.id));
    }
    const parts = rows.get(record.id);
    drawRow(parts, record);
    for (const row of [parts.row, parts.details?.row].filter(Boolean)) {
      if (row === next) {
        next = next.nextElementSibling;
      } else {
        body.insertBefore(row, next);
      }
    }
  }
  if (focused && focused !== document.activeElement && focused.isConnected) {
    focused.focus({ preventScroll: true });
  }
  drawSummary(records);
  applyFilter();
}

function noteTrouble(record) {
  if (record.state === "ready") {
    troubledSince.delete(record.id);
  } else if (!troubledSince.has(record.id)) {
    troubledSince.set(record.id, Date.parse(record.time));
  }
}

function rank(record) {
  const lasts = Date.now() - troubledSince.get(record.id) >= TROUBLE_AFTER;
  return record.state === "failed" ? 0 : lasts ? 1 : 2;
}

function sortKey(record) {
  return [record.namespace, resource(record), String(record.remotePort).padStart(5), record.id].join("\0");
}

function drawSummary(records) {
  const ready = records.filter((record) => record.state === "ready").length;
  write(at("summary"), records.length ? `${ready} of ${records.length} ready` : "");
  const title = records.length ? `${ready}/${records.length} portside` : "portside";
  if (document.title !== title) {
    document.title = title;
  }
  const button = at("troubled");
  const count = records.length - ready;
  write(button, count ? `Not ready (${count})` : "All");
  button.hidden = !count && button.getAttribute("aria-pressed") === "false";
}

// Rows

function makeRow(id) {
  const row = element("tr");
  row.setAttribute("role", "row");
  const parts = {
    row,
    state: element("span", "pill"),
    name: element("strong"),
    place: element("span", "small"),
    link: element("a"),
    byName: element("a", "small"),
    copy: element("button", "copy"),
    pod: cell("Pod"),
    rate: element("span"),
    plot: traffic.plot(id),
    connections: cell("Connections"),
    since: element("time"),
    more: element("button", "more"),
    reason: cell("Reason"),
    details: null,
  };
  for (const link of [parts.link, parts.byName]) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
  const cells = ["State", "Address", "Traffic", "Age", "Details"].map((label) => cell(label));
  const [state, address, flow, since, details] = cells;
  parts.head = cell("Resource", "th", "rowheader");
  state.append(parts.state);
  parts.head.append(parts.name, parts.place);
  address.append(parts.link, " ", parts.byName, parts.copy);
  flow.append(parts.rate, parts.plot);
  since.append(parts.since);
  details.append(parts.more);
  parts.copy.type = parts.more.type = "button";
  parts.copy.addEventListener("click", () => copyFrom(parts.copy, parts.link.href.replace(/\/$/, "")));
  parts.more.setAttribute("aria-expanded", "false");
  parts.more.addEventListener("click", () => toggleDetails(id));
  row.append(state, parts.head, address, parts.pod, flow, parts.connections, since, details, parts.reason);
  return parts;
}

function drawRow(parts, record) {
  const name = resource(record);
  write(parts.state, record.state);
  mark(parts.state, `pill ${record.state}`);
  write(parts.name, name);
  write(parts.place, shortPlace(record));
  parts.head.title = `${name} ${place(record)}`;
  drawLink(parts.link, record.url, EVERYWHERE.has(record.localAddress));
  drawLink(parts.byName, record.gateway, false);
  parts.copy.hidden = !parts.link.hasAttribute("href");
  parts.copy.setAttribute("aria-label", `Copy the URL of ${name}`);
  parts.more.setAttribute("aria-label", `Details of ${name}`);
  const direct = record.via === "pod" ? " (direct)" : "";
  write(parts.pod, record.pod && record.podPort ? `${record.pod}:${record.podPort}${direct}` : record.pod);
  parts.pod.title = parts.pod.textContent;
  const held = record.connectionsHeld ? `, ${record.connectionsHeld} waiting` : "";
  write(parts.connections, record.since ? `${record.connections} open${held}` : "");
  write(parts.reason, record.reason);
  drawAge(parts, record);
  traffic.take(record);
  parts.details?.draw(record);
}

function drawLink(link, address, everywhere) {
  write(link, address.replace(/^https?:\/\//, ""));
  if (!OURS.test(address)) {
    link.removeAttribute("href");
    return;
  }
  const url = new URL(address);
  if (everywhere) {
    url.hostname = location.hostname;
  }
  if (link.href !== url.href) {
    link.href = url.href;
  }
}

function drawAge(parts, record) {
  write(parts.since, record.since ? age(record.since) : "");
  parts.since.dateTime = record.since;
}

// Once a second: ages, rates, and the order of forwards that are not ready.
export function tick() {
  traffic.tick();
  for (const record of forwards) {
    const parts = rows.get(record.id);
    if (parts) {
      drawAge(parts, record);
      write(parts.rate, traffic.rate(record.id));
    }
  }
  drawForwards(forwards);
}

function toggleDetails(id) {
  const parts = rows.get(id);
  if (parts.details) {
    parts.details.row.remove();
    parts.details = null;
  } else {
    parts.details = makeDetails(id, () => parts.link.href.replace(/\/$/, ""));
  }
  parts.more.setAttribute("aria-expanded", String(Boolean(parts.details)));
  drawForwards(forwards);
}

// Filter

const filter = at("filter");
const troubled = at("troubled");

function applyFilter() {
  const wanted = filter.value.trim().toLowerCase();
  const alone = troubled.getAttribute("aria-pressed") === "true";
  let shown = 0;
  for (const record of forwards) {
    const parts = rows.get(record.id);
    const matches = (!alone || record.state !== "ready") && parts.row.textContent.toLowerCase().includes(wanted);
    parts.row.hidden = !matches;
    if (parts.details) {
      parts.details.row.hidden = !matches;
    }
    shown += matches;
  }
  const empty = at("no-forwards");
  empty.hidden = shown > 0;
  write(empty, forwards.length ? "No forward matches." : "Nothing is forwarded yet.");
}

filter.addEventListener("input", applyFilter);
filter.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    filter.value = "";
    filter.blur();
    applyFilter();
  }
});
troubled.addEventListener("click", () => {
  troubled.setAttribute("aria-pressed", String(troubled.getAttribute("aria-pressed") !== "true"));
  drawForwards(forwards);
});
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    filter.focus();
  }
});
