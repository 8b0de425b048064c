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

  // A link to what is folded away opens it; so does printing, and closes it again.
  const open = (element) => {
    for (let each = element; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
  };
  const follow = (hash) => {
    const target = hash.length > 1 && document.getElementById(hash.slice(1));
    if (target) { open(target); target.scrollIntoView(); }
  };
  document.querySelectorAll('a[href^="#"]').forEach((link) => link.addEventListener("click", () => follow(link.hash)));
  window.addEventListener("hashchange", () => follow(location.hash));
  follow(location.hash);
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details.chapter:not([open]), details.cautions:not([open])")];
    opened.forEach((each) => { each.open = true; });
    root.dataset.theme = "light";
  });
  window.addEventListener("afterprint", () => {
    opened.forEach((each) => { each.open = false; });
    delete root.dataset.theme;
  });

  // What scrolls sideways can be reached by keyboard.
  const frames = [...document.querySelectorAll(".panel > .scroll")];
  const reach = () => frames.forEach((frame) => {
    if (frame.scrollWidth <= frame.clientWidth) return;
    frame.tabIndex = 0;
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", "Plot, scrolls sideways");
  });
  document.querySelectorAll("details").forEach((each) => each.addEventListener("toggle", reach));
  window.addEventListener("resize", reach);
  reach();

  // A line over the plot follows the sound beside it.
  document.querySelectorAll(".panel audio").forEach((audio) => {
    const plot = audio.parentElement.querySelector(".plot");
    const line = document.createElement("div");
    line.className = "playhead";
    line.hidden = true;
    const [left, right, start, end] = plot.dataset.frame.split(" ").map(Number);
    plot.append(line);
    const follow = () => {
      line.hidden = false;
      line.style.left = 100 * (left + (right - left) * (audio.currentTime - start) / (end - start)) + "%";
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
      const table = dataOf(button.dataset.figure)[Number(button.dataset.table)];
      const link = document.createElement("a");
      const suffix = button.dataset.table === "0" ? "" : "-" + button.dataset.table;
      link.href = URL.createObjectURL(new Blob(["\ufeff" + csv(table)], { type: "text/csv" }));
      link.download = button.dataset.figure + suffix + ".csv";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  });
})();
