"use strict";
// The figures of the nearest dot, wherever the pointer is in a plot. Without this script the tables say the same.
const tip = document.getElementById("tip");
const REACH_PX = 40;

function nearest(svg, x, y) {
  let best = null;
  let distance = REACH_PX;
  for (const dot of svg.querySelectorAll("[data-tip]")) {
    const box = dot.getBoundingClientRect();
    const d = Math.hypot(box.left + box.width / 2 - x, box.top + box.height / 2 - y);
    if (d < distance) [best, distance] = [dot, d];
  }
  return best;
}

for (const svg of document.querySelectorAll(".canvas svg")) {
  svg.addEventListener("pointermove", (event) => {
    const dot = nearest(svg, event.clientX, event.clientY);
    tip.hidden = !dot;
    if (!dot) return;
    tip.textContent = dot.dataset.tip;
    const box = dot.getBoundingClientRect();
    const left = Math.min(box.left + 12, document.documentElement.clientWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 10;
    tip.style.left = `${Math.max(left, 8)}px`;
    tip.style.top = `${above > 0 ? above : box.bottom + 12}px`;
  });
  svg.addEventListener("pointerleave", () => { tip.hidden = true; });
}
addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
