"use strict";
// Heads of tables become buttons that sort the rows: ascending, descending, as it was.
// Without this script the page says the same, in the order in which it was written.
(() => {
  const SECONDS = { s: 1, min: 60, h: 3600 };
  const NUMBER = /^[<>]?\s*([+\u2212-]?\d[\d\u202f]*(?:\.\d+)?)(?:[\s\u00a0](s|min|h))?(?![\w.])/;
  const ABSENT = /^(missing|not known|\u2013|no number.*|needs .*)?$/;
  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

  function numberIn(text) {
    const found = NUMBER.exec(text);
    if (!found) return NaN;
    const digits = found[1].replace("\u2212", "-").replaceAll("\u202f", "");
    return Number(digits) * (SECONDS[found[2]] ?? 1);
  }

  function keysOf(rows, column) {
    const texts = rows.map((row) => row.cells[column].textContent.trim());
    const known = texts.filter((text) => !ABSENT.test(text));
    const numeric = known.length > 0 && known.every((text) => !Number.isNaN(numberIn(text)));
    return texts.map((text) => (ABSENT.test(text) ? null : numeric ? numberIn(text) : text));
  }

  function compare(a, b) {
    if (typeof a === "number") return a - b;
    return a.localeCompare(b, "en", { numeric: true });
  }

  // What is absent stands last in either order.
  function order(rows, column, direction) {
    const keys = keysOf(rows, column);
    const sign = direction === "ascending" ? 1 : -1;
    const places = rows.map((_, place) => place);
    places.sort((a, b) => {
      if (keys[a] === null || keys[b] === null) {
        return (keys[a] === null) - (keys[b] === null) || a - b;
      }
      return sign * compare(keys[a], keys[b]) || a - b;
    });
    return places.map((place) => rows[place]);
  }

  function makeSortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    const written = [...table.tBodies[0].rows];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const direction = NEXT[head.getAttribute("aria-sort") ?? "none"];
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        if (direction !== "none") head.setAttribute("aria-sort", direction);
        table.classList.toggle("sorted", direction !== "none");
        const rows = direction === "none" ? written : order(written, column, direction);
        table.tBodies[0].append(...rows);
      });
    });
  }

  document.querySelectorAll("table").forEach((table) => {
    if (table.tHead && table.tBodies.length && table.tBodies[0].rows.length > 1) {
      makeSortable(table);
    }
  });
})();
