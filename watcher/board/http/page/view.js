// Owns the page's elements. Everything a cluster said goes in as text, never as HTML; rows are kept and changed in
// place, so that whoever has the focus keeps it.

const at = (id) => document.getElementById(id);
// The only links: addresses that portside itself has made.
const OURS = /^https?:\/\/(\[[0-9a-f:.]+\]|[0-9a-z._-]+):\d{1,5}$/i;
const WHERE_ALL = new Set(["0.0.0.0", "::"]);

function element(name, className = "", ...inside) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...inside);
  return made;
}

// `label`: for narrow screens, where a row becomes a card.
function cell(label, name = "td", role = "cell") {
  const made = element(name);
  made.setAttribute("role", role);
  made.dataset.label = label;
  if (name === "th") {
    made.scope = "row";
  }
  return made;
}

function write(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

function mark(node, className) {
  if (node.className !== className) {
    node.className = className;
  }
}

// Words

export const resource = (record) => `${record.resourceType}/${record.resourceName}`;

// The default kube-context; what is elsewhere is said.
let home = "";

function place(record) {
  const container = record.container ? `container ${record.container}` : "";
  const port = record.remotePort ? `port ${record.remotePort}` : "";
  const namespace = record.namespace ? `in ${record.namespace}` : "";
  const context = record.context && home && record.context !== home ? `of context ${record.context}` : "";
  return [container, port, namespace, context].filter(Boolean).join(" ");
}

function age(since) {
  const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(since)) / 1000));
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"]].find(([size]) => seconds >= size) || [1, "s"];
  return `${Math.floor(seconds / size)} ${unit}`;
}

function clock(time) {
  return new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

function bytes(count) {
  const step = Math.min(5, Math.max(0, Math.floor(Math.log10(Math.max(count, 1)) / 3)));
  return `${step ? (count / 1000 ** step).toPrecision(3) : count} ${["B", "kB", "MB", "GB", "TB", "PB"][step]}`;
}

function phase(record) {
  if (!record.attached) {
    return ["lost", `Skaffold is away${record.reason ? `: ${record.reason}` : ""}`];
  }
  const word = record.failed ? "failed" : record.phase || "attached";
  const iteration = record.iteration ? `, iteration ${record.iteration}` : "";
  return [record.failed ? "failed" : record.phase === "idle" ? "ready" : "busy", `Skaffold: ${word}${iteration}`];
}

function sentence(record) {
  switch (record.kind) {
    case "skaffold":
      return phase(record)[1];
    case "skip":
      return `${resource(record)} is not forwarded: ${record.reason}`;
  }
  const verb = record.state === "failed" || record.state === "stopped" ? "has" : "is";
  const to = record.state === "ready" && record.pod ? `, served by ${record.pod}` : "";
  return `${resource(record)} ${verb} ${record.state}${to}${record.reason ? `: ${record.reason}` : ""}`;
}

// Forwards

const rows = new Map();

function makeRow() {
  const row = element("tr");
  row.setAttribute("role", "row");
  const parts = {
    row,
    state: element("span", "pill"),
    name: element("strong"),
    place: element("span", "small"),
    reason: element("span", "small reason"),
    link: element("a"),
    byName: element("a", "small"),
    pod: cell("Pod"),
    since: element("time"),
    open: element("span"),
    total: element("span", "small"),
    sent: element("span"),
    received: element("span"),
    error: element("span", "reason"),
    errorTime: element("time", "small"),
  };
  for (const link of [parts.link, parts.byName]) {
    link.target = "_blank";
    link.rel = "noopener noreferrer";
  }
  const state = cell("State");
  const head = cell("Resource", "th", "rowheader");
  const address = cell("Address");
  const since = cell("Age");
  const connections = cell("Connections");
  const carried = cell("Bytes");
  const error = cell("Last error");
  state.append(parts.state);
  head.append(parts.name, parts.place, parts.reason);
  address.append(parts.link, parts.byName);
  since.append(parts.since);
  connections.append(parts.open, parts.total);
  carried.append(direction("↑ ", "sent ", parts.sent), direction("↓ ", "received ", parts.received));
  error.append(parts.error, parts.errorTime);
  row.append(state, head, address, parts.pod, since, connections, carried, error);
  return Object.assign(parts, { counted: [connections, carried] });
}

// An arrow for the eye, a word for the ear.
function direction(arrow, word, count) {
  const seen = element("span", "", arrow);
  seen.setAttribute("aria-hidden", "true");
  return element("span", "carried", seen, element("span", "heard", word), count);
}

function drawRow(parts, record) {
  write(parts.state, record.state);
  mark(parts.state, `pill ${record.state}`);
  write(parts.name, resource(record));
  write(parts.place, place(record));
  write(parts.reason, record.reason);
  drawLink(parts.link, record.url, WHERE_ALL.has(record.localAddress));
  drawLink(parts.byName, record.gateway, false);
  write(parts.pod, record.pod && record.podPort ? `${record.pod}:${record.podPort}` : record.pod);
  drawAge(parts, record);
  parts.counted.forEach((cell) => cell.classList.toggle("unknown", !record.since));
  const held = record.connectionsHeld ? `, ${record.connectionsHeld} waiting` : "";
  write(parts.open, `${record.connections} open${held}`);
  write(parts.total, `${record.connectionsTotal} in all`);
  write(parts.sent, bytes(record.bytesSent));
  write(parts.received, bytes(record.bytesReceived));
  write(parts.error, record.lastError);
  write(parts.errorTime, record.lastErrorTime && clock(record.lastErrorTime));
  parts.errorTime.dateTime = record.lastErrorTime;
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

export function drawAges(records) {
  records.forEach((record) => rows.has(record.id) && drawAge(rows.get(record.id), record));
}

export function drawForwards(records) {
  const order = (record) => [record.namespace, resource(record), String(record.remotePort).padStart(5), record.id].join("\0");
  records.sort((a, b) => order(a).localeCompare(order(b)));
  const standing = new Set(records.map((record) => record.id));
  for (const [id, parts] of rows) {
    if (!standing.has(id)) {
      parts.row.remove();
      rows.delete(id);
    }
  }
  const body = at("forward-rows");
  records.forEach((record, index) => {
    if (!rows.has(record.id)) {
      rows.set(record.id, makeRow());
    }
    const parts = rows.get(record.id);
    drawRow(parts, record);
    if (body.children[index] !== parts.row) {
      body.insertBefore(parts.row, body.children[index] || null);
    }
  });
  at("no-forwards").hidden = records.length > 0;
  const ready = records.filter((record) => record.state === "ready").length;
  write(at("summary"), records.length ? `${ready} of ${records.length} ready` : "");
  const title = records.length ? `${ready}/${records.length} portside` : "portside";
  if (document.title !== title) {
    document.title = title;
  }
}

// The rest

export function drawSkaffold(record) {
  const pill = at("skaffold");
  pill.hidden = !record;
  if (record) {
    const [className, words] = phase(record);
    mark(pill, `pill ${className}`);
    write(pill, words);
  }
}

// One line for each record; what stands there already stays as it is.
function drawLines(list, lines, none) {
  const wanted = lines.length ? lines : [["", none]];
  while (list.children.length > wanted.length) {
    list.lastElementChild.remove();
  }
  wanted.forEach(([small, text], index) => {
    const line = list.children[index] || list.appendChild(element("li", "", element("span", "small"), element("span")));
    write(line.children[0], small);
    write(line.children[1], text);
  });
}

export function drawChanges(records) {
  drawLines(at("changes"), records.map((r) => [clock(r.time), sentence(r)]), "Nothing yet.");
}

export function drawSkips(records) {
  const lines = records.map((record) => [`${resource(record)} ${place(record)}`, record.reason]);
  drawLines(at("skips"), lines.sort(), "Nothing is left out.");
}

export function drawWhy(verdicts, filter) {
  const wanted = filter.trim().toLowerCase();
  const rows = verdicts.map(verdictRow).filter((row) => row.textContent.toLowerCase().includes(wanted));
  at("why-rows").replaceChildren(...rows);
  at("no-why").hidden = rows.length > 0;
}

function verdictRow(verdict) {
  const answer = verdict.forwarded ? "yes" : "no";
  const row = element("tr");
  row.setAttribute("role", "row");
  const forwarded = cell("Forwarded");
  forwarded.append(element("span", `pill ${answer}`, answer));
  const head = cell("Resource", "th", "rowheader");
  head.append(element("strong", "", resource(verdict)), element("span", "small", place(verdict)));
  const rule = cell("Rule");
  rule.append(verdict.rule, element("span", "small reason", verdict.reason), element("span", "small", verdict.origin));
  row.append(forwarded, head, rule);
  return row;
}

// Which portside this is; null where nobody knows.
export function drawAbout(about) {
  home = about ? about.context : "";
  const namespace = about && about.namespace ? `namespace ${about.namespace}` : "all namespaces";
  const place = about && about.context ? `context ${about.context}, ${namespace}` : "no cluster";
  write(at("about"), about ? `portside ${about.command} (pid ${about.pid}) in ${about.folder}: ${place}` : "");
}

export function drawAway(words) {
  at("away").hidden = !words;
  write(at("away"), words);
  document.body.classList.toggle("stale", Boolean(words));
}

export function announce(record) {
  write(at("announce"), sentence(record));
}
