"use strict";
(() => {
  const stored = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const isNarrow = (width) => width < 520; // there a legend below, of several rows, would lie on the axis' title

  // plotly keeps what it is given, so each drawing gets its own copy, coloured for the page as it is now
  const themed = (figure, width) => {
    const narrow = isNarrow(width);
    const { data, layout } = structuredClone(figure);
    for (const trace of data) {
      const tone = colour("--" + ((trace.meta && trace.meta.tone) || "ink"));
      if (trace.line) trace.line.color = tone;
      if (trace.fill) trace.fillcolor = tone + "2e";
      trace.marker = { ...(trace.marker || {}), color: tone };
    }
    const axis = {
      gridcolor: colour("--grid"), linecolor: colour("--line"), tickcolor: colour("--line"), zeroline: false, zerolinecolor: colour("--muted"), showline: true, ticks: "outside", ticklen: 4, fixedrange: true,
    };
    for (const name of ["xaxis", "yaxis"]) {
      layout[name] = { ...axis, ...(layout[name] || {}) };
      if (layout[name].title) layout[name].title = { standoff: 8, ...layout[name].title };
    }
    for (const note of layout.annotations || []) {
      if (note.boxed) Object.assign(note, { bgcolor: colour("--paper"), opacity: 0.85, borderpad: 1, yshift: note.yanchor === "bottom" ? 3 : 0 });
      delete note.boxed;
      note.font = { color: colour("--ink"), size: 12 };
    }
    return {
      data,
      layout: {
        ...layout, autosize: true, dragmode: false, paper_bgcolor: colour("--paper"), plot_bgcolor: colour("--paper"),
        font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: colour("--ink") },
        margin: { l: 52, r: 10, t: 10, b: layout.showlegend && !narrow ? 76 : 44 },
        legend: { orientation: "h", ...(narrow ? { y: 1.02, yanchor: "bottom" } : { y: -0.2, yanchor: "top" }), x: 0, itemwidth: 40, font: { size: 12 } },
        hoverlabel: { bgcolor: colour("--paper"), bordercolor: colour("--line"), font: { color: colour("--ink") }, namelength: -1 },
      },
    };
  };

  const config = { displaylogo: false, displayModeBar: false, responsive: true };
  const figureOf = (box) =>
    box.dataset.chooser ? stored.chooser[document.getElementById(box.dataset.chooser).value] : stored.figures[box.dataset.figure];
  const draw = (box) => {
    const { data, layout } = themed(figureOf(box), box.clientWidth);
    const rows = layout.showlegend && isNarrow(box.clientWidth) ? new Set(data.filter((t) => t.showlegend !== false).map((t) => t.legendgroup || t.name)).size : 0;
    box.style.height = rows > 2 ? `calc(260px + ${rows * 1.25}em)` : ""; // a name a row, above the plot
    return Plotly.react(box, data, layout, config);
  };
  const boxes = [...document.querySelectorAll(".plot")];
  const drawAll = () => Promise.all(boxes.map(draw));

  const select = document.getElementById("measure");
  if (select) select.addEventListener("change", () => draw(document.querySelector("[data-chooser]")));
  dark.addEventListener("change", drawAll);
  // paper is light, whatever the screen is
  const paper = (on) => { document.documentElement.classList.toggle("print", on); drawAll(); };
  window.addEventListener("beforeprint", () => paper(true));
  window.addEventListener("afterprint", () => paper(false));

  // one plot a turn: the page stays usable while they are drawn
  (async () => {
    for (const box of boxes) {
      await draw(box);
      await new Promise((next) => setTimeout(next));
    }
    document.documentElement.dataset.drawn = String(boxes.length);
  })();
})();
