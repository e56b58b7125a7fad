/** Kept answers as files: shared where the phone does that, downloaded elsewhere. */

import { button, fill, make } from "./dom.js";

const KEEP_ADDRESS_MS = 60_000; // a download may start late

/** What can be exported: [key of its words, end of its name, () -> Promise of a Blob]. */
async function exportsOf(page) {
  const { keep } = page;
  const { files, frames } = await keep.counts();
  return [
    ["results.export.jsonl", ".jsonl", () => keep.jsonLines()],
    files || !frames ? ["export.csv.files", "-images.csv", () => keep.csv()] : null,
    frames ? ["export.csv.frames", "-camera.csv", () => keep.csv({ frames: true })] : null,
  ].filter((one) => one !== null);
}

/** The button that opens the choice of files. */
export function exportButton(page) {
  const open = async () => {
    const dialog = make("dialog", { "aria-labelledby": "export-title" });
    const close = button(page.t("work.dismiss"), () => dialog.close());
    const title = make("h2", { id: "export-title", text: page.t("results.export") });
    const rows = (await exportsOf(page)).map((one) => exportRow(page, one, dialog));
    fill(dialog, title, ...rows, make("div", { class: "row-of-buttons" }, close));
    dialog.addEventListener("close", () => dialog.remove());
    page.root.append(dialog);
    dialog.showModal();
  };
  return button(page.t("results.export"), open, "export", "share");
}

function exportRow(page, [key, end, made], dialog) {
  const name = `limiar-${page.page.bundle.slice(0, 8)}-${new Date().toISOString().slice(0, 10)}${end}`;
  const file = async () => {
    const blob = await made();
    return new File([blob], name, { type: blob.type });
  };
  const hand = (over) => async () => {
    try {
      if (await over(await file())) page.notify(page.t("export.done", { name }));
      dialog.close();
    } catch (error) {
      dialog.close();
      const code = error.code && page.language.sentence(error.code);
      page.notify(code || page.t("export.failed"), "bad");
    }
  };
  const share = canShare(name) ? button(page.t("export.share"), hand(shareFile), "primary", "share") : null;
  const download = button(page.t("export.download"), hand(downloadFile), share ? "" : "primary");
  return make("div", {}, make("h3", { text: page.t(key) }), make("div", { class: "row-of-buttons" }, share, download));
}

function canShare(name) {
  return navigator.canShare?.({ files: [new File(["x"], name, { type: "text/csv" })] }) ?? false;
}

/** -> whether there is something to tell: the phone itself says what it shared. */
async function shareFile(file) {
  // The sheet takes text by its name; application/x-ndjson is not on the list of what may be shared.
  const shared = new File([file], file.name.replace(/\.jsonl$/, ".txt"), { type: file.name.endsWith(".csv") ? "text/csv" : "text/plain" });
  try {
    await navigator.share({ files: [shared] });
  } catch (error) {
    if (error.name !== "AbortError") throw error; // a person changed their mind
  }
  return false;
}

async function downloadFile(file) {
  const address = URL.createObjectURL(file);
  make("a", { href: address, download: file.name }).click();
  setTimeout(() => URL.revokeObjectURL(address), KEEP_ADDRESS_MS);
  return true;
}
