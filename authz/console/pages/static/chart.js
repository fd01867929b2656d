// Charts of usage by outcome: stacked bars, drawn from the table beside them.
"use strict";

const OUTCOMES = ["ok", "client_error", "server_error", "denied", "aborted"];

function series(figure) {
  const { since, until, step } = figure.dataset;
  const first = Number(since), width = Number(step);
  const count = Math.max(1, Math.round((Number(until) - first) / width));
  const times = Array.from({ length: count }, (_, i) => first + i * width);
  const values = OUTCOMES.map(() => new Array(count).fill(0));
  for (const row of figure.querySelectorAll("tr[data-time]")) {
    const at = Math.round((Number(row.dataset.time) - first) / width);
    if (at < 0 || at >= count) continue;
    OUTCOMES.forEach((name, i) => (values[i][at] = Number(row.dataset[name.replace("_e", "E")] || 0)));
  }
  return { times, values };
}

// Hours within a day, dates over days; both as people in all countries read them.
function timeLabels(_plot, times) {
  const days = times.length > 1 && times[1] - times[0] >= 86400;
  return times.map((time) => {
    const text = new Date(time * 1000).toISOString();
    return days || text.slice(11, 16) === "00:00" ? text.slice(5, 10) : text.slice(11, 16);
  });
}

function draw(figure) {
  const place = figure.querySelector(".chart");
  const { times, values } = series(figure);
  const styles = getComputedStyle(document.documentElement);
  const color = (name) => styles.getPropertyValue(name).trim();
  const labels = [...figure.querySelectorAll("th[data-outcome]")].map((cell) => cell.textContent.trim());
  const tops = values.map((_, i) => times.map((_, t) => values.slice(0, i + 1).reduce((sum, v) => sum + v[t], 0)));
  // The tallest bar is drawn first, so that each lower one covers a part of it.
  const order = OUTCOMES.map((_, i) => OUTCOMES.length - 1 - i);
  const axis = { stroke: color("--muted"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  place.replaceChildren();
  return new uPlot({
    width: place.clientWidth,
    height: 220,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    cursor: { y: false, drag: { x: false, y: false } },
    scales: { x: { range: (_u, low, high) => [low - Number(figure.dataset.step) / 2, high + Number(figure.dataset.step) / 2] }, y: { range: (_u, _low, high) => [0, Math.max(high, 1)] } },
    axes: [{ ...axis, values: timeLabels, space: 70 }, { ...axis, size: 56, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 1e8, 1e9] }],
    series: [
      { value: (_u, time) => (time == null ? "" : new Date(time * 1000).toISOString().slice(0, 16).replace("T", " ")), label: "UTC" },
      ...order.map((i) => ({
        label: labels[i],
        fill: color(`--series-${OUTCOMES[i].split("_")[0]}`),
        stroke: color(`--series-${OUTCOMES[i].split("_")[0]}`),
        width: 0,
        points: { show: false },
        paths: uPlot.paths.bars({ size: [0.8, 60] }),
        value: (_u, _v, _s, at) => (at == null ? "" : values[i][at].toLocaleString("en")),
      })),
    ],
  }, [times, ...order.map((i) => tops[i])], place);
}

const plots = new Map();
function drawAll() {
  for (const figure of document.querySelectorAll("figure[data-step]")) {
    plots.get(figure)?.destroy();
    plots.set(figure, draw(figure));
  }
}
drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  drawAll();
});
document.addEventListener("htmx:afterSwap", drawAll);
