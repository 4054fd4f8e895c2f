"use strict";
document.documentElement.classList.add("js");

// Rows without a value come last, whichever way the others go.
function compare(column, numeric, sign) {
  return (a, b) => {
    const [x, y] = [a, b].map((row) => row.cells[column].dataset.v ?? "");
    if (x === "" || y === "") return (x === "") - (y === "");
    return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true }));
  };
}

for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const sort = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      for (const other of heads) other.setAttribute("aria-sort", other === head ? sort : "none");
      const sign = sort === "ascending" ? 1 : -1;
      body.append(...rows.sort(compare(column, head.classList.contains("number"), sign)));
    });
  });
  const tools = table.closest(".filtered").querySelector(".tools");
  const input = tools.querySelector("input");
  const shown = tools.querySelector("output");
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    for (const row of rows) {
      row.hidden = !words.every((word) => texts.get(row).includes(word));
      n += !row.hidden;
    }
    shown.textContent = `${n} of ${rows.length} rows`;
  });
}

for (const button of document.querySelectorAll(".zoom")) {
  button.addEventListener("click", () => {
    const large = button.closest("figure").classList.toggle("large");
    button.setAttribute("aria-expanded", String(large));
  });
}

window.addEventListener("beforeprint", () => {
  for (const closed of document.querySelectorAll("details:not([open])")) {
    closed.open = true;
    closed.dataset.opened = "";
  }
});
window.addEventListener("afterprint", () => {
  for (const opened of document.querySelectorAll("details[data-opened]")) {
    opened.open = false;
    delete opened.dataset.opened;
  }
});
