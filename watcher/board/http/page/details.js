// Shows one forward in full, below its row: counters, last changes, commands to copy, a test, another try.

import { copyFrom } from "./clipboard.js";
import { bytes, cell, clock, element, sentence, write } from "./words.js";

export function makeDetails(id, url) {
  const row = element("tr", "details");
  row.setAttribute("role", "row");
  const inside = cell("Details of the forward");
  const facts = element("dl");
  const result = element("output");
  const changes = element("ol");
  const curl = button("Copy curl", () => copyFrom(curl, `curl ${url()}/`));
  const env = button("Copy env line", () => copyFrom(env, `${variable(record)}=${url()}`));
  const connect = button("Test", () => act(connect, "test", result));
  const get = button("GET /", () => act(get, "test", result, "&path=/"));
  const retry = button("Try again", () => act(retry, "retry", result));
  const title = element("h3", "", "Last changes");
  inside.append(facts, element("p", "buttons", curl, env, connect, get, retry), result, title, changes);
  row.append(inside);
  let record = null;
  let drawnAt = "";

  async function act(pressed, what, output, more = "") {
    pressed.disabled = true;
    write(output, "…");
    write(output, await asked(`/v1/${what}?id=${encodeURIComponent(id)}${more}`));
    pressed.disabled = false;
    pressed.focus();
  }

  function draw(now) {
    record = now;
    const linked = /^http/.test(url());
    curl.hidden = env.hidden = connect.hidden = get.hidden = !linked;
    retry.hidden = record.state !== "failed";
    drawFacts(facts, record);
    if (drawnAt !== record.time) {
      drawnAt = record.time;
      drawChanges(changes, id);
    }
  }

  return { row, draw };
}

function button(text, action) {
  const made = element("button", "", text);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
}

// As --env-file names it.
function variable(record) {
  const name = `${record.resourceName}_${record.remotePort}`.toUpperCase().replace(/[^A-Z0-9_]/g, "_");
  return `${/^\d/.test(name) ? "_" : ""}${name}_URL`;
}

function drawFacts(list, record) {
  const facts = record.since
    ? [
        ["sent", bytes(record.bytesSent)],
        ["received", bytes(record.bytesReceived)],
        ["connections in all", String(record.connectionsTotal)],
        ["errors", String(record.errors)],
        ["last error", record.lastError && `${record.lastError} (${clock(record.lastErrorTime)})`],
      ]
    : [["counters", "none: portside does not hold this port"]];
  const shown = facts.filter(([, value]) => value);
  while (list.children.length > shown.length) {
    list.lastElementChild.remove();
  }
  shown.forEach(([name, value], index) => {
    const line = list.children[index] || list.appendChild(element("div", "", element("dt"), element("dd")));
    write(line.children[0], name);
    write(line.children[1], value);
  });
}

async function drawChanges(list, id) {
  try {
    const answer = await fetch(`/v1/changes?id=${encodeURIComponent(id)}`);
    const changes = answer.ok ? await answer.json() : [];
    const line = (one) => element("li", "", element("span", "small", clock(one.time)), element("span", "", sentence(one)));
    list.replaceChildren(...changes.map(line));
  } catch {
    // The events report that portside does not answer.
  }
}

async function asked(target) {
  try {
    const answer = await fetch(target, { method: "POST", headers: { "X-Portside": "1" } });
    if (!answer.ok) {
      return (await answer.text()).trim();
    }
    const result = await answer.json();
    if (result.kind === "retry") {
      return result.retried ? "trying again" : result.reason;
    }
    const took = `${Math.round(result.seconds * 1000)} ms`;
    return result.ok ? `${result.answer} (${took})` : `${[result.answer, result.reason].filter(Boolean).join("; ")} (${took})`;
  } catch {
    return "portside does not answer";
  }
}
