// --- tables: a click on a column's header sorts by it ---------------------------------------------------

function sort(table, header) {
  const column = header.cellIndex;
  const direction = header.ariaSort === "ascending" ? -1 : 1;
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.ariaSort = direction > 0 ? "ascending" : "descending";
  const text = (row) => row.cells[column].textContent.trim();
  const number = (row) => parseFloat(text(row).replaceAll(",", ""));
  // What is not a number comes last, in either order.
  const order = (a, b) => {
    if (isNaN(number(a)) || isNaN(number(b))) return isNaN(number(a)) - isNaN(number(b)) || direction * text(a).localeCompare(text(b));
    return direction * (number(a) - number(b));
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
}

for (const header of document.querySelectorAll("thead th")) {
  header.onclick = () => sort(header.closest("table"), header); // its button is in it, for the keyboard
}
