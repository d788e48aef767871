// Computes each forward's bytes a second from its counters, and plots the last three minutes.

import { bytes } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
// Seconds of one point of the plot, and points.
const STEP = 3;
const POINTS = 60;

export class Traffic {
  #flows = new Map();
  #ticks = 0;

  #flow(id) {
    if (!this.#flows.has(id)) {
      this.#flows.set(id, { total: null, before: 0, step: 0, recent: [], points: new Array(POINTS).fill(0), line: null });
    }
    return this.#flows.get(id);
  }

  forget(id) {
    this.#flows.delete(id);
  }

  // The counters of a record; what was carried before the page opened is not traffic.
  take(record) {
    const flow = this.#flow(record.id);
    const total = record.bytesSent + record.bytesReceived || 0;
    if (flow.total === null || total < flow.total) {
      flow.before = flow.step = total;
    }
    flow.total = total;
  }

  // Once a second. Counters arrive about once a second too, so a rate is taken over three of them.
  tick() {
    this.#ticks += 1;
    for (const flow of this.#flows.values()) {
      flow.recent = [...flow.recent, flow.total - flow.before].slice(-3);
      flow.before = flow.total;
      if (this.#ticks % STEP === 0) {
        flow.points = [...flow.points.slice(1), flow.total - flow.step];
        flow.step = flow.total;
        draw(flow);
      }
    }
  }

  rate(id) {
    const { recent } = this.#flow(id);
    const carried = recent.reduce((sum, one) => sum + one, 0);
    return carried ? `${bytes(carried / recent.length)}/s` : "";
  }

  plot(id) {
    const picture = document.createElementNS(SVG, "svg");
    const line = document.createElementNS(SVG, "polyline");
    picture.setAttribute("viewBox", `0 0 ${POINTS} 20`);
    picture.setAttribute("preserveAspectRatio", "none");
    picture.setAttribute("aria-hidden", "true");
    picture.setAttribute("class", "plot");
    picture.append(line);
    this.#flow(id).line = line;
    return picture;
  }
}

function draw({ points, line }) {
  const most = Math.max(...points);
  const shape = most ? points.map((one, x) => `${x},${(19 - (18 * one) / most).toFixed(1)}`).join(" ") : "";
  if (line.getAttribute("points") !== shape) {
    line.setAttribute("points", shape);
  }
}
