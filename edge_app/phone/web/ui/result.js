/** The view of one answer: the picture, the map, probabilities, what ran, the whole line. */

import { fill, make } from "./dom.js";
import { pictureCanvas, thumbnailImage } from "./drawing.js";
import { badge, codeMessage, confidence, facts, nameOf } from "./said.js";
import { jsonLine } from "../keep/lines.js";

/** The view: see PhonePage. id: as keep gives it. */
export function resultView(page, id) {
  const left = [];
  const node = make("div", { class: "stack" });
  const title = page.t("result.title", { id });
  fill(node, backLink(page));
  showAnswer(page, id, node, left, title);
  return { title, node, leave: () => left.forEach((end) => end()) };
}

function backLink(page) {
  return make("a", { href: "#/", class: "back", text: page.t("result.back") });
}

async function showAnswer(page, id, node, left, title) {
  const [entry] = await page.keep.list({ before: id + 1, count: 1 });
  if (entry?.id !== id) {
    fill(node, backLink(page), make("h1", { tabindex: "-1", text: page.t("result.gone") }));
    return;
  }
  const { line } = entry;
  const heading = make("h1", { tabindex: "-1" }, title, " ", make("span", { class: "soft", text: nameOf(page, line) }));
  const one = make(
    "div",
    { class: "one" },
    picturesCard(page, entry, left),
    make("div", { class: "stack" }, answerCard(page, line), aboutCard(page, line), ranCard(page, line)),
  );
  fill(node, backLink(page), make("div", { class: "heading" }, heading), one, lineCard(page, line));
}

function picturesCard(page, { line, thumbnail }, left) {
  const picture = figure(page.t(line.code ? "result.picture.refused" : "result.picture"));
  const kept = thumbnail ? thumbnailImage(thumbnail, left, "shown") : make("p", { class: "soft", text: page.t("result.picture.none") });
  picture.append(kept);
  const card = make("section", { class: "card pictures" }, picture);
  const file = line.code ? null : page.files.get(line.sha256);
  if (file && page.started) {
    drawWhole(page, file, line, card, picture, kept);
  } else if (thumbnail && line.path != null) {
    const more = page.started?.hasMap ? page.t("result.picture.map-too") : "";
    picture.append(make("p", { class: "soft", text: page.t("result.picture.again", { more }) }));
  }
  return card;
}

function figure(caption) {
  return make("figure", {}, make("figcaption", { text: caption }));
}

/** The whole picture and the map, from the file that was chosen; nothing if it is gone or has changed since. */
async function drawWhole(page, file, line, card, picture, kept) {
  const wait = make("p", { class: "soft", text: page.t("result.map.wait") });
  if (page.started.hasMap) picture.append(wait);
  let found;
  try {
    found = await page.work.answer(new Uint8Array(await file.arrayBuffer()), line.path, true);
  } catch {
    return; // the small copy stays
  } finally {
    wait.remove();
  }
  if (found.line.sha256 !== line.sha256 || !found.picture) return;
  kept.replaceWith(pictureCanvas(found.picture, page.t("result.picture")));
  if (!found.heat) return;
  const map = figure(page.t("result.map"));
  const { label } = line;
  map.append(pictureCanvas(found.heat, page.t("result.map.alt", { label })));
  map.append(make("p", { class: "soft", text: page.t("result.map.help", { label }) }));
  card.append(map);
}

function answerCard(page, line) {
  const card = make("section", { class: "card" }, make("h2", { text: page.t("result.answer") }));
  if (line.code) {
    card.append(make("p", { class: "big" }, badge(page, line)), make("h3", { text: page.t("result.refused") }));
    card.append(...codeMessage(page, line.code, line.message));
    return card;
  }
  card.append(make("p", { class: "big" }, badge(page, line), confidence(page, line.confidence)));
  if (line.decision === "refer") {
    const leans = page.t("result.model-says", { label: line.label });
    card.append(make("p", { text: `${page.t("decision.refer.long")}. ${leans}` }));
  }
  if (line.outside?.length) {
    const statistics = line.outside.join(", ");
    card.append(make("p", { class: "notice warn", text: page.t("result.outside", { statistics }) }));
  }
  const rows = Object.entries(line.probabilities).map(([label, share]) =>
    make("tr", {}, make("th", { scope: "row", text: label }), make("td", {}, confidence(page, share))),
  );
  card.append(make("h3", { text: page.t("result.probabilities") }), make("table", { class: "shares" }, make("tbody", {}, ...rows)));
  return card;
}

function aboutCard(page, line) {
  const { language } = page;
  const votes = line.frames
    ? [
        page.t("result.agreeing", { agreeing: language.number(line.agreeing), frames: language.number(line.frames) }),
        page.t("result.spread", { spread: language.percent(line.spread) }),
      ].join(", ")
    : null;
  const frame = line.sequence == null ? null : [language.number(line.sequence), votes].filter(Boolean).join(": ");
  const listed = facts([
    [page.t("result.file"), line.path],
    [page.t("result.source"), line.source],
    [page.t("result.frame"), frame],
    [page.t("result.taken"), line.taken && language.moment(line.taken)],
    [page.t("result.time"), language.moment(line.time)],
    [page.t("result.trailing"), line.trailing],
    [page.t("result.sha256"), line.sha256 && make("span", { class: "mono", text: line.sha256 })],
    [page.t("result.ms"), line.ms && msText(page, line.ms)],
  ]);
  const browser = line.source == null ? null : make("p", { class: "soft", text: page.t("result.browser") });
  return make("section", { class: "card" }, make("h2", { text: page.t("result.about") }), listed, browser);
}

function msText(page, ms) {
  const [decode, resize, infer] = [ms.decode, ms.resize, ms.infer].map((value) => page.language.number(value, 1));
  return page.t("result.ms.parts", { decode, resize, infer });
}

function ranCard(page, line) {
  const here = page.started?.bundle === line.bundle ? `${page.started.name} ${page.started.version}` : null;
  const hash = make("span", { class: "mono soft", text: line.bundle });
  const listed = facts([
    [page.t("result.bundle"), here ? [here, make("br"), hash] : hash],
    [page.t("result.model-file"), line.file],
    [page.t("result.runtime"), line.runtime],
    [page.t("result.app"), line.app],
    [page.t("result.verified"), line.verified === "device" ? page.t("result.verified.device") : line.verified],
  ]);
  return make("section", { class: "card" }, make("h2", { text: page.t("result.ran") }), listed);
}

function lineCard(page, line) {
  const help = make("p", { class: "soft", text: page.t("result.line.help").replaceAll("`", "") });
  const text = make("pre", { tabindex: "0", text: jsonLine(line).trimEnd() });
  return make("details", { class: "card" }, make("summary", { text: page.t("result.line") }), help, text);
}
