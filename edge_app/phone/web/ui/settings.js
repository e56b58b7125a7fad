/** The view of settings: colours, what is kept and how to delete it, what the page is made of. */

import { chosen } from "./choices.js";
import { button, fill, make } from "./dom.js";
import { exportButton } from "./exports.js";

const LICENCES = "LICENSES.txt";

/** The view: see PhonePage. */
export function settingsView(page) {
  const title = page.t("settings.title");
  const heading = make("div", { class: "heading" }, make("h1", { tabindex: "-1", text: title }));
  return { title, node: make("div", { class: "stack" }, heading, coloursCard(page), keptCard(page), appCard(page)) };
}

function coloursCard(page) {
  const options = [null, "light", "dark"].map((theme) => {
    const selected = chosen("theme", ["light", "dark"]) === theme;
    return make("option", { value: theme ?? "system", selected, text: page.t(`theme.${theme ?? "system"}`) });
  });
  const change = (event) => page.colour(event.target.value === "system" ? null : event.target.value);
  const select = make("select", { id: "theme", on: { change } }, ...options);
  return make("section", { class: "card" }, make("label", { for: "theme", text: page.t("theme") }), select);
}

function keptCard(page) {
  const card = make("section", { class: "card" });
  fillKept(page, card);
  return card;
}

async function fillKept(page, card) {
  const { language } = page;
  const [count, used, persisted] = await Promise.all([page.keep.count(), usedBytes(), isPersisted()]);
  const facts = [language.counted("settings.kept.count", count)];
  if (used !== null) facts.push(page.t("settings.kept.size", { used: language.size(used) }));
  const ask = button(page.t("settings.persist"), async () => {
    await navigator.storage.persist();
    fillKept(page, card);
  });
  const remove = button(page.t("settings.delete"), () => confirmDelete(page, count, card), "danger");
  remove.disabled = count === 0;
  fill(
    card,
    make("h2", { text: page.t("settings.kept") }),
    make("p", { text: facts.join(" · ") }),
    persisted === null ? null : make("p", { class: "soft", text: page.t(persisted ? "settings.persisted" : "settings.not-persisted") }),
    make("div", { class: "row-of-buttons" }, persisted === false ? ask : null, exportButton(page), remove),
  );
}

async function usedBytes() {
  return (await navigator.storage?.estimate?.())?.usage ?? null;
}

async function isPersisted() {
  return (await navigator.storage?.persisted?.()) ?? null;
}

function confirmDelete(page, count, card) {
  const dialog = make("dialog", { "aria-labelledby": "delete-title" });
  const sure = make("p", { id: "delete-title", text: page.language.counted("settings.delete.sure", count) });
  const keep = button(page.t("settings.delete.no"), () => dialog.close());
  const remove = button(page.t("settings.delete.yes"), async () => {
    await page.keep.clear();
    page.files.clear();
    page.batch = page.batch?.running ? page.batch : null;
    dialog.close();
    page.notify(page.t("settings.deleted"));
    fillKept(page, card);
  }, "danger");
  fill(dialog, sure, make("div", { class: "row-of-buttons" }, keep, remove));
  dialog.addEventListener("close", () => dialog.remove());
  page.root.append(dialog);
  dialog.showModal();
}

function appCard(page) {
  const text = make("pre", { tabindex: "0" });
  const open = async () => {
    if (!text.textContent) text.textContent = new TextDecoder().decode(await page.readPart(LICENCES));
  };
  const licences = Object.hasOwn(page.page.parts, LICENCES)
    ? make("details", { on: { toggle: open } }, make("summary", { text: page.t("settings.licences") }), make("p", { class: "soft", text: page.t("settings.licences.help") }), text)
    : null;
  return make("section", { class: "card" }, make("h2", { text: page.t("settings.about") }), make("p", { text: page.page.app }), licences);
}
