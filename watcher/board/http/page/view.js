// Shows everything but the forwards: which portside this is, Skaffold's phase, changes, what is not forwarded, and why.

import { at, cell, clock, element, mark, phase, place, resource, sentence, setHome, write } from "./words.js";

export function drawSkaffold(record) {
  const pill = at("skaffold");
  pill.hidden = !record;
  if (record) {
    const [className, words] = phase(record);
    mark(pill, `pill ${className}`);
    write(pill, words);
  }
}

// One line for each pair; lines that exist are changed in place.
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

// By reason: a run has many ports that are skipped for the same one.
export function drawSkips(records) {
  const byReason = new Map();
  for (const record of records) {
    byReason.set(record.reason, [...(byReason.get(record.reason) || []), `${resource(record)} ${place(record)}`]);
  }
  const lines = [...byReason].map(([reason, names]) => [`${names.length > 1 ? `${names.length}: ` : ""}${reason}`, names.sort().join(", ")]);
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
  head.append(element("strong", "", resource(verdict)), " ", element("span", "small", place(verdict)));
  const rule = cell("Rule");
  rule.append(verdict.rule, element("span", "small reason", verdict.reason), element("span", "small", verdict.origin));
  row.append(forwarded, head, rule);
  return row;
}

// Which portside this is; null if that is not known.
export function drawAbout(about) {
  setHome(about ? about.context : "", about ? about.namespace : "");
  const namespace = about && about.namespace ? `namespace ${about.namespace}` : "all namespaces";
  write(at("project"), about ? about.folder.replace(/[/\\]+$/, "").split(/[/\\]/).pop() || about.folder : "");
  at("project").title = about ? about.folder : "";
  write(at("place"), about ? (about.context ? `context ${about.context}, ${namespace}` : "no cluster") : "");
  write(at("who"), about ? `portside ${about.command} (pid ${about.pid})` : "");
}

export function drawAway(words) {
  at("away").hidden = !words;
  write(at("away"), words);
  document.body.classList.toggle("stale", Boolean(words));
}

export function announce(record) {
  write(at("announce"), sentence(record));
}
