// Opens the neighbours of a result by keys.
import { onKey } from "./page.js";

const open = (key) => () => {
  const link = document.querySelector(`[data-key="${key}"]`);
  if (!link) return false;
  link.click();
};

onKey({ j: open("j"), k: open("k") });
