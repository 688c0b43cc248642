"use strict";
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const rowHead = table.querySelector("thead th[rowspan]");
  const heads = [rowHead, ...table.tHead.rows[1].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    const value = (row) => row.cells[column].dataset.value;
    const order = column === 0
      ? (a, b) => value(a).localeCompare(value(b), undefined, {numeric: true})
      : (a, b) => value(a) - value(b);
    const known = (row) => column === 0 || value(row) !== "";
    const rows = [...body.rows];
    const sorted = rows.filter(known).sort(down ? (a, b) => order(b, a) : order);
    body.append(...sorted, ...rows.filter((row) => !known(row)));
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    document.getElementById("sorted").textContent =
      `Sorted by ${head.querySelector("button").textContent.trim()}, ${down ? "descending" : "ascending"}.`;
  }));
}
