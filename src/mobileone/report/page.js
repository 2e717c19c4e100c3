// Sort a table by the column whose heading is pressed; pressing it again turns the order round.
for (const table of document.querySelectorAll("table")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const text = heading.classList.contains("text");
      const before = heading.getAttribute("aria-sort");
      const rising = before ? before === "descending" : text;
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = text
        ? (a, b) => value(a).localeCompare(value(b), "en", { numeric: true })
        : (a, b) => Number(value(a)) - Number(value(b));
      const rows = [...table.tBodies[0].rows].sort((a, b) => (rising ? compare(a, b) : compare(b, a)));
      table.tBodies[0].append(...rows);
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    });
  });
}
