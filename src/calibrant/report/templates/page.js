"use strict";
const say = (text) => { document.getElementById("said").textContent = text; };

for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const heads = [...table.querySelectorAll("th[aria-sort]")];
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const column = Number(head.dataset.column), words = "text" in head.dataset;
      const down = head.getAttribute("aria-sort") === "ascending";
      const value = (row) => row.cells[column].dataset.value;
      const order = words
        ? (a, b) => value(a).localeCompare(value(b), undefined, {numeric: true})
        : (a, b) => value(a) - value(b);
      const rows = [...body.rows], known = rows.filter((row) => value(row) !== "");
      known.sort(down ? (a, b) => order(b, a) : order);
      body.append(...known, ...rows.filter((row) => value(row) === ""));
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const name = [...head.querySelector("button").childNodes].filter((node) => node.className !== "better");
      say(`Sorted by ${name.map((node) => node.textContent).join("").trim()}, ${down ? "descending" : "ascending"}.`);
    });
  }
}

// Panels of which one is shown: without this script, and on paper, all are.
const shows = new Map();
for (const group of document.querySelectorAll("[data-tabs]")) {
  const panels = [...group.children].filter((child) => child.classList.contains("panel"));
  if (panels.length < 2) continue;
  const bar = document.createElement("div"), list = document.createElement("div");
  bar.className = "tabs";
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", group.dataset.tabs);
  const tabs = panels.map((panel) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.id = `${panel.id}-tab`;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panel.id);
    const head = panel.querySelector("h3");
    const dot = head && head.querySelector(".swatch");
    if (dot) tab.append(dot.cloneNode());
    tab.append(panel.dataset.name || [...head.childNodes].find((node) => node.nodeType === 3).textContent.trim());
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    panel.removeAttribute("aria-label");
    panel.tabIndex = 0;
    list.append(tab);
    return tab;
  });
  bar.append(list);
  let all = null;
  const show = (index) => {
    if (all) all.setAttribute("aria-pressed", "false");
    tabs.forEach((tab, k) => {
      tab.setAttribute("aria-selected", String(k === index));
      tab.tabIndex = k === index ? 0 : -1;
      panels[k].hidden = k !== index;
    });
  };
  tabs.forEach((tab, k) => {
    tab.addEventListener("click", () => show(k));
    tab.addEventListener("keydown", (event) => {
      const to = {ArrowRight: k + 1, ArrowDown: k + 1, ArrowLeft: k - 1, ArrowUp: k - 1, Home: 0, End: -1}[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = (to + tabs.length) % tabs.length;
      show(next);
      tabs[next].focus();
    });
  });
  if (group.dataset.all) {
    all = document.createElement("button");
    all.type = "button";
    all.className = "all";
    all.textContent = group.dataset.all;
    all.addEventListener("click", () => {
      const on = all.getAttribute("aria-pressed") !== "true";
      if (!on) return show(Math.max(0, tabs.findIndex((tab) => tab.tabIndex === 0)));
      all.setAttribute("aria-pressed", "true");
      for (const panel of panels) panel.hidden = false;
      for (const tab of tabs) tab.setAttribute("aria-selected", "false");
    });
    bar.append(all);
  }
  group.prepend(bar);
  panels.forEach((panel, k) => shows.set(panel.id, () => show(k)));
  show(0);
}

const follow = () => {
  const show = shows.get(decodeURIComponent(location.hash.slice(1)));
  if (!show) return;
  show();
  document.getElementById(decodeURIComponent(location.hash.slice(1))).scrollIntoView();
};
addEventListener("hashchange", follow);
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (link && link.hash === location.hash) follow();
});
follow();
