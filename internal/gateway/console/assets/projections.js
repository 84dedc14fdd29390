// The chart of lags. The table on the page says the same.
"use strict";

(() => {
  let plot, of = "";

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colours = ["--verdigris", "--ochre", "--fallen", "--worn", "--grown"];

  function draw() {
    const sinks = document.getElementById("sinks"), place = document.getElementById("lag-chart");
    if (!place || !sinks?.dataset.lags) return;
    const lags = JSON.parse(sinks.dataset.lags), data = [lags.times, ...lags.series];
    const now = lags.names.join() + colour("--ink");
    if (plot && of === now && place.contains(plot.root)) { plot.setData(data); return; }
    plot?.destroy();
    of = now;
    const axis = { stroke: colour("--worn"), grid: { stroke: colour("--cut-soft") }, ticks: { stroke: colour("--cut-soft") } };
    plot = new uPlot({
      width: place.clientWidth, height: 220,
      // One moment alone would be a point on an axis of years.
      scales: { x: { range: (u, low, high) => u.data[0].length > 1 ? [low, high] : [low - 30, low + 30] }, y: { range: (_, low, high) => [0, Math.max(high, 4)] } },
      axes: [{ ...axis, space: 90 }, { ...axis, size: 55 }],
      series: [{}, ...lags.names.map((name, i) => ({ label: name, stroke: colour(colours[i % colours.length]), width: 2, dash: i < colours.length ? [] : [4, 4] }))],
    }, data, place);
  }

  draw();
  document.addEventListener("htmx:afterSettle", draw);
  document.addEventListener("stele:shown", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("resize", () => plot?.setSize({ width: plot.root.parentElement.clientWidth, height: 220 }));
})();
