// Turns records into words, and makes the page's elements. What a cluster said is only ever text, never HTML.

export const at = (id) => document.getElementById(id);

export function element(name, className = "", ...inside) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...inside);
  return made;
}

// `label`: for narrow screens, where a row becomes a card.
export function cell(label, name = "td", role = "cell") {
  const made = element(name);
  made.setAttribute("role", role);
  made.dataset.label = label;
  if (name === "th") {
    made.scope = "row";
  }
  return made;
}

export function write(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

export function mark(node, className) {
  if (node.className !== className) {
    node.className = className;
  }
}

export const resource = (record) => `${record.resourceType}/${record.resourceName}`;

// The default kube-context and namespace, as the header names them.
let home = { context: "", namespace: "" };

export function setHome(context, namespace) {
  home = { context, namespace };
}

export function place(record) {
  const container = record.container ? `container ${record.container}` : "";
  const port = record.remotePort ? `port ${record.remotePort}` : "";
  const namespace = record.namespace ? `in ${record.namespace}` : "";
  const context = record.context && home.context && record.context !== home.context ? `of context ${record.context}` : "";
  return [container, port, namespace, context].filter(Boolean).join(" ");
}

// The same for a row below a header that names the default namespace.
export function shortPlace(record) {
  const { namespace } = record;
  const elsewhere = { ...record, remotePort: "", namespace: namespace === home.namespace ? "" : namespace };
  return `${record.remotePort ? `:${record.remotePort}` : ""} ${place(elsewhere)}`;
}

export function age(since) {
  const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(since)) / 1000));
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"]].find(([size]) => seconds >= size) || [1, "s"];
  return `${Math.floor(seconds / size)} ${unit}`;
}

export function clock(time) {
  return new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

export function bytes(count) {
  const step = Math.min(5, Math.max(0, Math.floor(Math.log10(Math.max(count, 1)) / 3)));
  return `${step ? (count / 1000 ** step).toPrecision(3) : Math.round(count)} ${["B", "kB", "MB", "GB", "TB", "PB"][step]}`;
}

export function phase(record) {
  if (!record.attached) {
    return ["lost", `Skaffold is away${record.reason ? `: ${record.reason}` : ""}`];
  }
  const word = record.failed ? "failed" : record.phase || "attached";
  const iteration = record.iteration ? `, iteration ${record.iteration}` : "";
  return [record.failed ? "failed" : record.phase === "idle" ? "ready" : "busy", `Skaffold: ${word}${iteration}`];
}

export function sentence(record) {
  switch (record.kind) {
    case "skaffold":
      return phase(record)[1];
    case "skip":
      return record.over ? `${resource(record)} is skipped no longer` : `${resource(record)} is not forwarded: ${record.reason}`;
  }
  const verb = record.state === "failed" || record.state === "stopped" ? "has" : "is";
  const to = record.state === "ready" && record.pod ? `, served by ${record.pod}` : "";
  return `${resource(record)} ${verb} ${record.state}${to}${record.reason ? `: ${record.reason}` : ""}`;
}
