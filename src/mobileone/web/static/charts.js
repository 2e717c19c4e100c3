/** Two small charts in SVG: how often which latency, and latency over time. */

import { histogram, summary } from "./statistics.js";

const [WIDTH, HEIGHT, BELOW] = [300, 90, 16];

/**
 * @param {number[]} values  milliseconds of runs
 * @returns {SVGSVGElement}
 */
export function histogramChart(values) {
  const { from, to, counts } = histogram(values);
  const { median, p90 } = summary(values);
  const chart = plot(`Histogram of ${values.length} runs: median ${median.toFixed(2)} ms, 90 % within ${p90.toFixed(2)} ms`);
  const most = Math.max(...counts);
  const step = WIDTH / counts.length;
  counts.forEach((count, index) => {
    const height = (count / most) * HEIGHT;
    if (count) chart.append(svg("rect", { class: "fill", x: index * step, y: HEIGHT - height, width: step - 1, height }));
  });
  const x = Math.min(WIDTH, ((median - from) / (to - from)) * WIDTH);
  chart.append(svg("line", { class: "mark", x1: x, x2: x, y1: 0, y2: HEIGHT }));
  label(chart, from.toFixed(2), 0, "start");
  label(chart, `${to.toFixed(2)} ms and more`, WIDTH, "end");
  return chart;
}

/**
 * @param {{seconds: number[], milliseconds: number[]}} curve
 * @returns {SVGSVGElement}
 */
export function curveChart({ seconds, milliseconds }) {
  const top = Math.max(...milliseconds) * 1.1;
  const last = seconds[seconds.length - 1];
  const chart = plot(`Median over ${last.toFixed(0)} s without pause: from ${milliseconds[0].toFixed(2)} to ${milliseconds[milliseconds.length - 1].toFixed(2)} ms`);
  const points = seconds.map((second, index) => `${((second / last) * WIDTH).toFixed(1)},${(HEIGHT * (1 - milliseconds[index] / top)).toFixed(1)}`);
  chart.append(svg("polyline", { class: "curve", points: points.join(" ") }));
  label(chart, "0 s", 0, "start");
  label(chart, `${last.toFixed(0)} s`, WIDTH, "end");
  const highest = svg("text", { x: 2, y: 10 });
  highest.textContent = `${top.toFixed(1)} ms`;
  chart.append(highest);
  return chart;
}

/** @param {string} title  what it shows, in words */
function plot(title) {
  const chart = /** @type {SVGSVGElement} */ (svg("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT + BELOW}`, role: "img", "aria-label": title }));
  chart.append(svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }));
  return chart;
}

/**
 * @param {SVGSVGElement} chart
 * @param {string} text
 * @param {number} x
 * @param {string} anchor
 */
function label(chart, text, x, anchor) {
  const written = svg("text", { x, y: HEIGHT + 12, "text-anchor": anchor });
  written.textContent = text;
  chart.append(written);
}

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 */
function svg(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  return made;
}
