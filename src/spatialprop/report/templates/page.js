for (const input of document.querySelectorAll(".slider input"))
  input.addEventListener("input", () => input.parentElement.style.setProperty("--at", input.value + "%"));

const value = cell => {
  const number = parseFloat(cell.textContent);
  return cell.classList.contains("number") ? (isNaN(number) ? -Infinity : number) : cell.textContent;
};

for (const table of document.querySelectorAll("table")) {
  table.classList.add("sortable");
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const sort = () => {
      const falls = heading.ariaSort ? heading.ariaSort === "ascending" : heading.classList.contains("number");
      headings.forEach(other => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].sort((one, other) => {
        const [a, b] = [value(one.cells[column]), value(other.cells[column])];
        return (a < b ? -1 : a > b ? 1 : 0) * (falls ? -1 : 1);
      });
      table.tBodies[0].append(...rows);
    };
    heading.tabIndex = 0;
    heading.addEventListener("click", sort);
    heading.addEventListener("keydown", event => event.key === "Enter" && sort());
  });
}
