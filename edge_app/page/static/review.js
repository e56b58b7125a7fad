// One key for each label, s skips, u takes the last review back.
import { onKey } from "./page.js";

const actions = {};
for (const control of document.querySelectorAll("[data-key]")) {
  actions[control.dataset.key] = () => {
    const form = control.form;
    if (form && !form.reportValidity()) return; // the name is missing: the browser says so
    control.click();
  };
}
onKey(actions);
