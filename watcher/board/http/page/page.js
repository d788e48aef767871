// Keeps the newest record of each forward and skip, from /v1/events, and decides when to draw.
// Nothing is polled. Only the rules behind the verdicts are fetched, while they are open.

import { drawForwards, tick } from "./rows.js";
import { announce, drawAbout, drawAway, drawChanges, drawSkaffold, drawSkips, drawWhy } from "./view.js";

const CHANGES_KEPT = 12;
const RETRY_AFTER = 1000;
const KNOWN_WITHIN = 900; // the state at the beginning is not announced
const WHY_AFTER = 1000;

const forwards = new Map();
const skips = new Map();
let skaffold = null;
let changes = [];
let openedAt = Infinity;
let due = false;

function connect() {
  const events = new EventSource("/v1/events?counters");
  events.onopen = () => {
    forwards.clear();
    skips.clear();
    skaffold = null;
    openedAt = performance.now();
    drawAway("");
    fetchAbout();
    draw();
  };
  events.onmessage = (event) => take(JSON.parse(event.data));
  events.onerror = () => {
    drawAway("portside does not answer. This is its last known state; the page tries again.");
    events.close();
    setTimeout(connect, RETRY_AFTER);
  };
}

async function fetchAbout() {
  try {
    const answer = await fetch("/v1/about");
    if (answer.ok) {
      drawAbout(await answer.json());
    }
  } catch {
    // The events report that portside does not answer.
  }
}

function take(record) {
  if (record.kind === "forward") {
    takeForward(record);
  } else if (record.kind === "skip") {
    takeSkip(record);
  } else if (record.kind === "skaffold" && (!skaffold || record.time >= skaffold.time)) {
    skaffold = record;
    changed(record);
  }
  draw();
}

function takeForward(record) {
  const before = forwards.get(record.id);
  skips.delete(record.id);
  if (record.state === "stopped") {
    forwards.delete(record.id);
  } else {
    forwards.set(record.id, record);
  }
  // A record with the same time has only new counters.
  if (!before || before.time !== record.time) {
    changed(record);
  }
}

function takeSkip(record) {
  if (record.over) {
    skips.delete(record.id);
  } else {
    forwards.delete(record.id);
    skips.set(record.id, record);
    changed(record);
  }
}

function changed(record) {
  // The current state is sent again after each reconnection.
  const same = (other) => ["kind", "id", "time", "state"].every((field) => other[field] === record[field]);
  if (!changes.some(same)) {
    changes = [record, ...changes].sort((a, b) => b.time.localeCompare(a.time)).slice(0, CHANGES_KEPT);
    if (performance.now() - openedAt > KNOWN_WITHIN) {
      announce(record);
    }
  }
  askWhy();
}

function draw() {
  if (!due) {
    due = true;
    requestAnimationFrame(() => {
      due = false;
      drawForwards([...forwards.values()]);
      drawSkips([...skips.values()]);
      drawSkaffold(skaffold);
      drawChanges(changes);
    });
  }
}

// Why

const why = document.getElementById("why");
const filter = document.getElementById("why-filter");
let verdicts = [];
let asking = 0;

function askWhy() {
  if (why.open && !asking) {
    asking = setTimeout(fetchWhy, WHY_AFTER);
  }
}

async function fetchWhy() {
  asking = 0;
  try {
    const answer = await fetch("/v1/explain");
    if (answer.ok) {
      verdicts = await answer.json();
      drawWhy(verdicts, filter.value);
    }
  } catch {
    // The events report that portside does not answer.
  }
}

why.addEventListener("toggle", () => why.open && fetchWhy());
filter.addEventListener("input", () => drawWhy(verdicts, filter.value));

setInterval(tick, 1000);
connect();
