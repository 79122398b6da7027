Array.prototype.forEach.call(document.querySelectorAll("table.sortable"), function (table) {
  "use strict";
  var body = table.tBodies[0];
  var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
  if (body.rows.length < 2) { return; }

  function value(row, column) {
    var cell = row.cells[column];
    var text = cell.hasAttribute("data-v") ? cell.getAttribute("data-v") : cell.textContent.trim();
    var number = /^[-+]?[0-9]/.test(text) ? parseFloat(text) : NaN;
    return {text: text, number: number};
  }

  // Numbers before texts, whichever way; what is empty stays last.
  function compare(one, two, sign) {
    if (one.text === "" || two.text === "") { return (one.text === "") - (two.text === ""); }
    if (!isNaN(one.number) && !isNaN(two.number)) { return sign * (one.number - two.number); }
    if (isNaN(one.number) !== isNaN(two.number)) { return isNaN(one.number) ? 1 : -1; }
    return sign * one.text.localeCompare(two.text);
  }

  heads.forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.textContent = "";
    head.appendChild(button);
    button.addEventListener("click", function () {
      var sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      Array.prototype.slice.call(body.rows).map(function (row, index) {
        return {row: row, index: index, value: value(row, column)};
      }).sort(function (one, two) {
        return compare(one.value, two.value, sign) || one.index - two.index;
      }).forEach(function (one) { body.appendChild(one.row); });
    });
  });
});

// A closed part would be missing on paper.
window.addEventListener("beforeprint", function () {
  Array.prototype.forEach.call(document.querySelectorAll("details"), function (one) { one.open = true; });
});
