/** The page's script: reads what the page is made of, shows it, starts the worker. */

import { openKeep } from "./keep/keep.js";
import { keepOffline } from "./offline.js";
import { openPlace } from "./place.js";
import { make } from "./ui/dom.js";
import { MemoryKeep } from "./ui/memory.js";
import { PhonePage } from "./ui/page.js";
import { openWork } from "./work.js";

const MANIFEST = "bundle/manifest.json";

async function openApp() {
  const root = document.getElementById("page");
  let place;
  let said;
  try {
    place = await openPlace();
    said = await parsedPart(place, "words.json");
  } catch (error) {
    refuseAll(root, error);
    return;
  }
  const { page, readPart } = place;
  const shown = new PhonePage(root, { said, page, readPart, work: openWork(place), ...(await openResults(place)) });
  addEventListener("beforeunload", (event) => shown.batch?.running && event.preventDefault());
  keepOffline((state, use) => state === "update" && shown.offer(use));
  await shown.start();
}

async function parsedPart(place, name) {
  return JSON.parse(new TextDecoder().decode(await place.readPart(name)));
}

/** Where no word of the page can be trusted: what was met, in its own words. */
function refuseAll(root, error) {
  const main = root.querySelector("main");
  const title = make("h1", { text: "This page does not answer" });
  const other = make("p", { lang: "pt", text: "Esta página não responde: uma verificação falhou." });
  const met = make("p", {}, make("code", { text: error.code ?? error.name }), " ", error.message);
  main.className = "";
  main.replaceChildren(make("div", { class: "notice bad", role: "alert" }, title, met, other));
}

/** Where answers are kept: in memory where the browser keeps nothing. -> {keep, kept} as PhonePage has them. */
async function openResults(place) {
  // A manifest that cannot be read costs the start, which says why; kept answers are still shown.
  const { labels } = await parsedPart(place, MANIFEST).catch(() => ({ labels: [] }));
  try {
    return { keep: await openKeep(labels), kept: true };
  } catch {
    return { keep: new MemoryKeep(labels), kept: false };
  }
}

openApp();
