"use strict";
(() => {
  const left = 190, right = 1064;
  const body = document.body, duration = Number(body.dataset.duration);
  const drawings = [...document.querySelectorAll("svg")];
  const plots = drawings.filter((svg) => svg.classList.contains("plot")).map((svg) => ({
    svg,
    readout: svg.querySelector(".readout"),
    steps: steps(svg.querySelector(".line").getAttribute("d")),
    low: Number(svg.dataset.low), high: Number(svg.dataset.high), unit: svg.dataset.unit,
    labels: JSON.parse(svg.dataset.labels || "{}"),
  }));

  // A path is M x y, H x and V y only: the value at a place is the last y before it.
  function steps(path) {
    const found = [];
    let x = 0, y = 0;
    for (const [, letter, numbers] of path.matchAll(/([MHV])([^MHV]+)/g)) {
      const [first, second] = numbers.trim().split(" ").map(Number);
      if (letter === "M") { x = first; y = second; } else if (letter === "H") { x = first; } else { y = first; }
      found.push([x, y]);
    }
    return found;
  }

  function valueAt(plot, x) {
    let first = 0, last = plot.steps.length - 1;
    if (last < 0 || plot.steps[0][0] > x) return "";
    while (first < last) {
      const middle = (first + last + 1) >> 1;
      if (plot.steps[middle][0] <= x) first = middle; else last = middle - 1;
    }
    const span = plot.high - plot.low;
    const value = plot.low + span * (96 - plot.steps[first][1]) / 86;
    const digits = Math.min(9, Math.max(0, Math.ceil(-Math.log10(span / 860))));
    return plot.labels[Math.round(value)] || `${Number(value.toFixed(digits)) + 0} ${plot.unit}`;
  }

  function show(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const x = Math.min(right, Math.max(left, (event.clientX - box.left) * 1080 / box.width));
    const seconds = duration / 1e9 * (x - left) / (right - left);
    body.classList.add("live");
    for (const hair of document.querySelectorAll(".hair")) { hair.setAttribute("x1", x); hair.setAttribute("x2", x); }
    for (const plot of plots) plot.readout.textContent = `${seconds.toPrecision(4)} s: ${valueAt(plot, x)}`;
  }

  function hide() {
    body.classList.remove("live");
    for (const plot of plots) plot.readout.textContent = "";
  }

  for (const svg of drawings) { svg.addEventListener("pointermove", show); svg.addEventListener("pointerleave", hide); }

  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "copied";
    });
  }

  for (const box of document.querySelectorAll(".choose input")) {
    box.addEventListener("change", () => {
      for (const row of document.querySelectorAll(`tr[data-sort="${box.value}"]`)) row.hidden = !box.checked;
    });
  }
})();
