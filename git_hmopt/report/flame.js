Array.prototype.forEach.call(document.querySelectorAll(".flame"), function (flame) {
  "use strict";
  var box = flame.querySelector(".frames");
  var row = Number(box.getAttribute("data-row"));
  var search = flame.querySelector(".search");
  var matched = flame.querySelector(".matched");
  var button = flame.querySelector(".side");
  var side = 0;  // 0 is after, 1 is before

  var frames = Array.prototype.map.call(box.querySelectorAll("g"), function (group) {
    var rect = group.querySelector("rect");
    function pair(one, two) {
      var first = Number(rect.getAttribute(one));
      return [first, rect.hasAttribute(two) ? Number(rect.getAttribute(two)) : first];
    }
    return {
      group: group, rect: rect, text: group.querySelector("text"),
      name: group.querySelector("title").textContent.replace(/ \([^()]*\)$/, ""),
      x: pair("fg:x", "data-x"), w: pair("fg:w", "data-w"),
      level: (Number(box.getAttribute("height")) - Number(rect.getAttribute("y"))) / row
    };
  });
  var root = frames[0];
  var focus = root;

  function holds(outer, inner) {
    return outer.x[side] <= inner.x[side] && inner.x[side] + inner.w[side] <= outer.x[side] + outer.w[side];
  }

  function draw() {
    var pixels = box.getBoundingClientRect().width || 1200;
    frames.forEach(function (frame) {
      var above = frame.level < focus.level && holds(frame, focus);
      var inside = frame.level >= focus.level && holds(focus, frame);
      var shown = frame.shown = frame.w[side] > 0 && (above || inside);
      frame.group.style.display = shown ? "" : "none";
      if (!shown) { return; }
      var x = above ? 0 : (frame.x[side] - focus.x[side]) / focus.w[side];
      var w = above ? 1 : frame.w[side] / focus.w[side];
      var room = Math.floor(w * pixels / 7);
      frame.rect.setAttribute("x", 100 * x + "%");
      frame.rect.setAttribute("width", 100 * w + "%");
      frame.text.setAttribute("x", 100 * x + "%");
      frame.text.textContent = frame.name.length <= room ? frame.name
        : room > 4 ? frame.name.slice(0, room - 2) + ".." : "";
      frame.group.classList.toggle("above", above);
    });
  }

  function zoom(frame) {
    focus = frame.w[side] > 0 ? frame : root;
    draw();
  }

  function find() {
    var wanted = search.value.toLowerCase();
    var hits = frames.filter(function (frame) {
      var hit = wanted !== "" && frame !== root && frame.name.toLowerCase().indexOf(wanted) !== -1;
      frame.group.classList.toggle("found", hit);
      return hit && frame.w[side] > 0;
    });
    // A function below itself, or below another hit, is counted once.
    var end = 0, cost = 0;
    hits.sort(function (one, two) { return one.x[side] - two.x[side] || two.w[side] - one.w[side]; });
    hits.forEach(function (frame) {
      var last = frame.x[side] + frame.w[side];
      cost += Math.max(0, last - Math.max(end, frame.x[side]));
      end = Math.max(end, last);
    });
    matched.textContent = wanted === "" ? ""
      : hits.length + " frames, " + (100 * cost / (root.w[side] || 1)).toFixed(2) + " % of all cost";
  }

  // One frame at a time is reached with Tab; from it the arrow keys go on.
  var current = root;

  function walk(frame) {
    if (!frame) { return; }
    current.group.setAttribute("tabindex", "-1");
    current = frame;
    current.group.setAttribute("tabindex", "0");
    current.group.focus();
  }

  function beside(frame, step) {
    var level = frames.filter(function (one) { return one.shown && one.level === frame.level; });
    level.sort(function (one, two) { return one.x[side] - two.x[side]; });
    return level[level.indexOf(frame) + step];
  }

  function next(frame, key) {
    if (key === "ArrowLeft" || key === "ArrowRight") { return beside(frame, key === "ArrowLeft" ? -1 : 1); }
    var up = key === "ArrowUp";
    var level = frame.level + (up ? 1 : -1);
    return frames.filter(function (one) {
      return one.shown && one.level === level && (up ? holds(frame, one) : holds(one, frame));
    })[0];
  }

  function pressed(frame, event) {
    if (event.key === "Enter" || event.key === " ") {
      zoom(frame);
    } else if (event.key.indexOf("Arrow") === 0) {
      walk(next(frame, event.key));
    } else {
      return;
    }
    event.preventDefault();
  }

  frames.forEach(function (frame) {
    frame.group.setAttribute("role", "button");
    frame.group.setAttribute("tabindex", frame === root ? "0" : "-1");
    frame.group.addEventListener("click", function () { zoom(frame); });
    frame.group.addEventListener("keydown", function (event) { pressed(frame, event); });
  });
  search.addEventListener("input", find);
  flame.querySelector(".reset").addEventListener("click", function () { zoom(root); });
  document.addEventListener("keydown", function (event) { if (event.key === "Escape") { zoom(root); } });
  window.addEventListener("resize", draw);
  if (button) {
    button.addEventListener("click", function () {
      side = 1 - side;
      button.textContent = side ? "widths of after" : "widths of before";
      zoom(focus);
      find();
    });
  }
  draw();
});
