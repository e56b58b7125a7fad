// Moves through the results by keys, and says when there are new ones.
import { onKey } from "./page.js";

const links = [...document.querySelectorAll(".row a")];

function move(step) {
  const at = links.indexOf(document.activeElement);
  const next = links[Math.min(links.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
  next?.focus();
}

onKey({ j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1) });

const status = document.querySelector("[data-new]");
if (status.dataset.new) {
  const link = status.querySelector("a");
  const look = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(status.dataset.new);
      const count = answer.ok ? Number(await answer.text()) : 0;
      if (count > 0) {
        const text = (count === 1 ? status.dataset.one : status.dataset.other).replace("#", String(count));
        if (link.textContent !== text) link.textContent = text;
        link.hidden = false;
      }
    } catch {
      // The device cannot be reached now; the next look tells.
    }
  };
  setInterval(look, 2000);
}
