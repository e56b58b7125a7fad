// What all views share: shortcuts, which work only while no field has the focus and can be switched off (WCAG 2.1.4).

const OFF = "limiar-keys-off";

export function keysOn() {
  try {
    return localStorage.getItem(OFF) === null;
  } catch {
    return true; // a browser that keeps nothing
  }
}

export function onKey(actions) {
  document.addEventListener("keydown", (event) => {
    if (!keysOn() || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    const action = actions[event.key];
    if (action && action(event) !== false) event.preventDefault();
  });
}

for (const button of document.querySelectorAll("[data-keys-switch]")) {
  const show = () => button.setAttribute("aria-pressed", String(keysOn()));
  button.hidden = false;
  button.addEventListener("click", () => {
    try {
      if (keysOn()) localStorage.setItem(OFF, "1");
      else localStorage.removeItem(OFF);
    } catch {
      return;
    }
    show();
  });
  show();
}
