"use strict";
(() => {
  const root = document.documentElement;
  const figureData = new Map();
  const dataOf = (name) => {
    if (!figureData.has(name)) {
      figureData.set(name, JSON.parse(document.getElementById("data-" + name).textContent));
    }
    return figureData.get(name);
  };

  // Colour tokens are the style sheet's variables, read anew for light, dark and print.
  const resolve = (value, styles) => {
    if (typeof value === "string" && value.startsWith("@")) {
      if (value === "@sequential") {
        return [0, 1, 2, 3, 4].map((i) => [i / 4, styles.getPropertyValue("--sequential-" + i).trim()]);
      }
      return styles.getPropertyValue("--" + value.slice(1)).trim() || value;
    }
    if (Array.isArray(value)) return value.map((item) => resolve(item, styles));
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, resolve(v, styles)]));
    }
    return value;
  };

  const coarse = window.matchMedia("(pointer: coarse)").matches;
  const axis = (given) => ({
    gridcolor: "@grid", linecolor: "@rule", zerolinecolor: "@rule", tickcolor: "@rule",
    ...given, title: { standoff: 10, ...(given && given.title) },
  });

  // Numbers fit the fixed margins; names may not, and only then may Plotly move the margins.
  const named = (given) => Boolean(given && (given.ticktext || given.type === "category"));

  const draw = (element) => {
    const panel = dataOf(element.dataset.figure).panels[Number(element.dataset.panel)];
    const { meta = {}, ...layout } = panel.layout;
    if (meta.minWidth) {
      element.style.minWidth = meta.minWidth + "px";
      const frame = element.parentElement;
      if (frame.scrollWidth > frame.clientWidth) {
        frame.tabIndex = 0;
        frame.setAttribute("role", "group");
        frame.setAttribute("aria-label", "Plot, scrolls sideways");
      }
    }
    if (meta.square) element.style.maxWidth = panel.height + 60 + "px";
    const whole = {
      height: panel.height,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", size: 12, color: "@ink" },
      hoverlabel: { bgcolor: "@paper", bordercolor: "@rule", font: { color: "@ink" } },
      legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom" },
      dragmode: coarse ? false : "zoom",
      ...layout,
      margin: { l: 58, r: 12, t: 12, b: 50, ...layout.margin },
      xaxis: axis({ automargin: named(layout.xaxis), ...layout.xaxis }),
      yaxis: axis({ automargin: named(layout.yaxis), ...layout.yaxis }),
    };
    const ticks = whole.xaxis.tickvals;
    const room = Math.max(2, Math.floor((element.clientWidth - 90) / (whole.xaxis.tickangle ? 15 : 34)));
    if (ticks && !meta.minWidth && ticks.length > room) {
      const every = Math.ceil(ticks.length / room);
      const keep = (_, i) => i % every === 0;
      whole.xaxis.tickvals = ticks.filter(keep);
      if (whole.xaxis.ticktext) whole.xaxis.ticktext = whole.xaxis.ticktext.filter(keep);
    }
    if (layout.legend) whole.legend = { orientation: "h", x: 0, xanchor: "left", yanchor: "top", ...layout.legend };
    const styles = getComputedStyle(root);
    const config = { displayModeBar: false, responsive: true, showTips: false };
    return window.Plotly.react(element, resolve(panel.data, styles), resolve(whole, styles), config);
  };

  const plots = [...document.querySelectorAll(".plot")];
  const drawAll = () => plots.filter((plot) => plot.dataset.drawn).forEach(draw);

  const report = () => {
    root.dataset.plotsDrawn = String(plots.filter((plot) => plot.dataset.drawn).length);
    root.dataset.plots = String(plots.length);
  };
  const drawOnce = (element) => {
    if (element.dataset.drawn) return;
    element.dataset.drawn = "yes";
    draw(element);
    report();
  };

  // What is on screen first; the rest one by one, so that the page answers meanwhile.
  const near = new IntersectionObserver((entries) => {
    entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      near.unobserve(entry.target);
      drawOnce(entry.target);
    });
  }, { rootMargin: "300px" });
  plots.forEach((plot) => near.observe(plot));
  const rest = [...plots];
  const next = () => {
    const element = rest.shift();
    if (!element) return;
    drawOnce(element);
    setTimeout(next, 0);
  };
  report();
  setTimeout(next, 50);

  // A line over the plot follows the sound beside it.
  document.querySelectorAll(".panel audio").forEach((audio) => {
    const plot = audio.parentElement.querySelector(".plot");
    const line = document.createElement("div");
    line.className = "playhead";
    line.hidden = true;
    const follow = () => {
      const axes = plot._fullLayout;
      if (axes) {
        if (line.parentElement !== plot) plot.append(line);
        line.hidden = false;
        line.style.left = axes.xaxis._offset + axes.xaxis.l2p(audio.currentTime) + "px";
      }
      if (!audio.paused && !audio.ended) requestAnimationFrame(follow);
    };
    ["play", "seeked"].forEach((event) => audio.addEventListener(event, follow));
    const ready = () => { audio.dataset.seconds = audio.duration.toFixed(2); };
    if (audio.readyState > 0) ready(); else audio.addEventListener("loadedmetadata", ready);
    audio.addEventListener("error", () => {
      const told = document.createElement("p");
      told.className = "note";
      told.textContent = "This browser cannot play the sound.";
      audio.replaceWith(told);
    });
  });

  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  window.addEventListener("beforeprint", () => {
    root.dataset.theme = "light";
    plots.forEach((plot) => { plot.dataset.drawn = "yes"; draw(plot); });
    document.querySelectorAll(".plot").forEach((plot) => window.Plotly.Plots.resize(plot));
  });
  window.addEventListener("afterprint", () => { delete root.dataset.theme; drawAll(); });

  // A column's name sorts by it: numbers largest first, what is unknown last.
  const key = (row, column) => {
    const text = row.cells[column].textContent.trim();
    if (text === "–" || text === "") return null;
    const number = Number(text.replaceAll(",", "").replace("−", "-"));
    return Number.isNaN(number) ? text : number;
  };
  const order = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  document.querySelectorAll("table[data-sortable]").forEach((table) => {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const falling = before ? before === "ascending" : head.classList.contains("n");
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        const keyed = [...body.rows].map((row) => [key(row, column), row]);
        keyed.sort(([a], [b]) => {
          if (a === null || b === null) return (a === null) - (b === null);
          return (falling ? -1 : 1) * order(a, b);
        });
        body.append(...keyed.map(([, row]) => row));
      });
    });
  });

  const field = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  };
  const csv = (table) => [table.header, ...table.rows].map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";
  document.querySelectorAll("button[data-table]").forEach((button) => {
    button.addEventListener("click", () => {
      const table = dataOf(button.dataset.figure).tables[Number(button.dataset.table)];
      const link = document.createElement("a");
      const suffix = button.dataset.table === "0" ? "" : "-" + button.dataset.table;
      link.href = URL.createObjectURL(new Blob(["\ufeff" + csv(table)], { type: "text/csv" }));
      link.download = button.dataset.figure + suffix + ".csv";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  });
})();
