/** The view of what answers: how this start was proven, the model, the bundle's card. */

import { fill, make } from "./dom.js";
import { cardElements } from "./markdown.js";
import { facts } from "./said.js";
import { startNote } from "./answers.js";

const CARD = "bundle/MODEL_CARD.md";

/** The view: see PhonePage. */
export function modelView(page) {
  const title = page.t("model.title");
  const node = make("div", { class: "stack" }, make("div", { class: "heading" }, make("h1", { tabindex: "-1", text: title })));
  if (page.started) node.append(proofCard(page), whatCard(page), cardCard(page));
  else node.append(startNote(page));
  return { title, node };
}

function proofCard(page) {
  const { language, started } = page;
  const golden = page.t("model.proof.golden.said", { n: language.number(started.golden) });
  const listed = facts([
    [page.t("model.proof.files"), page.t("model.proof.files.said")],
    [page.t("model.proof.signature"), signatureText(page, started.signature)],
    [page.t("model.proof.golden"), golden],
    [page.t("model.proof.time"), timeText(page, started.ms)],
  ]);
  return make("section", { class: "card" }, make("h2", { text: page.t("model.proof") }), listed);
}

/** signature: "signed by … 12 hex", "not signed" or "not checked". */
function signatureText(page, signature) {
  if (signature === "not signed") return page.t("model.proof.unsigned");
  if (signature === "not checked") return page.t("model.proof.unchecked");
  return page.t("model.proof.signed", { key: signature.replace(/^signed by /, "") });
}

/** ms: {files, load, golden, all}. */
function timeText(page, ms) {
  const inSeconds = (value) => page.language.number(value / 1000, 2);
  const { files, load, golden, all } = ms;
  return page.t("model.proof.seconds", { all: inSeconds(all), files: inSeconds(files), load: inSeconds(load), golden: inSeconds(golden) });
}

function whatCard(page) {
  const { language, started } = page;
  const below = started.referBelow;
  const rule = below ? page.t("model.rule.refer", { below: language.percent(below) }) : page.t("model.rule.plain");
  const listed = facts([
    [page.t("result.bundle"), [`${started.name} ${started.version}`, make("br"), make("span", { class: "mono soft", text: started.bundle })]],
    [page.t("use"), make("span", { lang: "en", text: started.intendedUse })],
    [page.t("model.labels"), started.labels.join(", ")],
    [page.t("model.rule"), rule],
    [page.t("result.model-file"), started.file],
    [page.t("model.input"), `${started.width} × ${started.height}, ${started.channels === 1 ? "L" : "RGB"}`],
    [page.t("result.runtime"), started.runtime],
    [page.t("result.app"), started.app],
  ]);
  return make("section", { class: "card" }, make("h2", { text: page.t("model.what") }), listed);
}

function cardCard(page) {
  const text = make("div", { lang: "en", class: "prose" });
  const card = make("section", { class: "card" }, make("h2", { text: page.t("model.card") }), text);
  readCard(page, text);
  return card;
}

async function readCard(page, text) {
  if (!Object.hasOwn(page.page.parts, CARD)) {
    fill(text, make("p", { lang: page.language.code, text: page.t("model.card.none") }));
    return;
  }
  try {
    fill(text, ...cardElements(new TextDecoder().decode(await page.readPart(CARD))));
  } catch (error) {
    fill(text, make("p", { text: error.message }));
  }
}
