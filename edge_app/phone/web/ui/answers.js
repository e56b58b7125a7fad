/** The view of all answers: choose, see the progress, the newest answers first. */

import { button, fill, icon, make } from "./dom.js";
import { Batch, passedCount } from "./batch.js";
import { chooseButtons, takeDropped } from "./choosing.js";
import { exportButton } from "./exports.js";
import { badge, codeMessage, confidence, nameOf } from "./said.js";
import { thumbnailImage } from "./drawing.js";

const AT_ONCE = 30; // rows, and as many more at a time
const MOST = 200; // rows that stay while new ones come

/** The view: see PhonePage. */
export function answersView(page) {
  const left = [];
  const stream = make("ol", { class: "stream" });
  const more = make("div", { class: "more" });
  const empty = emptyNote(page);
  const count = make("span", { class: "soft" });
  const work = make("div", {});
  const heading = make("h1", { tabindex: "-1" }, page.t("answers.title"), " ", count);
  const top = make("div", { class: "heading" }, heading, exportButton(page));
  let oldest = null;

  const counted = async () => {
    const kept = await page.keep.count();
    count.textContent = kept ? page.language.number(kept) : "";
    empty.hidden = kept > 0;
    stream.hidden = kept === 0;
    top.classList.toggle("nothing", kept === 0);
  };
  const older = async () => {
    const entries = await page.keep.list({ before: oldest, count: AT_ONCE });
    stream.append(...entries.map((entry) => answerRow(page, entry, left)));
    if (entries.length) oldest = entries.at(-1).id;
    fill(more, entries.length === AT_ONCE ? button(page.t("results.older"), older) : null);
  };
  const came = (entry) => {
    stream.querySelector(`[data-id="${entry.id}"]`)?.remove();
    stream.prepend(answerRow(page, entry, left));
    if (stream.children.length > MOST) {
      while (stream.children.length > AT_ONCE) stream.lastElementChild.remove();
      oldest = Number(stream.lastElementChild.dataset.id);
      fill(more, button(page.t("results.older"), older));
    }
  };
  const watch = () => {
    if (!page.batch) return;
    const going = goingCard(page);
    const draw = () => {
      going.draw();
      // It stays in its place: a button that is made anew for each answer is gone before a finger leaves it.
      if (!page.batch.running) fill(work, doneCard(page));
      else if (!work.contains(going.node)) fill(work, going.node);
    };
    page.batch.changed = (entry) => {
      if (entry) came(entry);
      if (entry || !page.batch.running) counted();
      draw();
    };
    draw();
  };
  const answer = async (chosen) => {
    if (!page.started) return;
    if (page.batch?.running) { // they were dropped: the buttons are off
      page.notify(page.t("work.busy"), "warn");
      return;
    }
    if (!chosen.jobs.length) {
      page.notify(page.t("work.nothing"), "warn");
      return;
    }
    page.batch = new Batch(page, chosen.jobs, passedCount(chosen));
    const ran = page.batch.run(); // first, so that no button offers to choose more meanwhile
    watch();
    dock.replaceChildren(...chooseButtons(page, answer));
    await ran;
    page.announce(doneText(page, page.batch));
    if (page.view.ended) page.view.ended();
  };
  const dock = make("div", { class: "dock" }, ...chooseButtons(page, answer));

  counted();
  older();
  watch();
  if (page.started) left.push(takeDropped(document.body, answer));
  const node = make("div", { class: "stack" }, top, startNote(page), dock, work, stream, empty, more);
  const leave = () => {
    if (page.batch) page.batch.changed = () => {};
    for (const end of left) end();
  };
  const ended = () => dock.replaceChildren(...chooseButtons(page, answer));
  return { title: page.t("answers.title"), node, docked: true, leave, ended };
}

function emptyNote(page) {
  const text = make("p", { text: page.t("answers.empty") });
  return make("div", { class: "empty", hidden: true }, icon("image", 40), text, make("p", { class: "soft", text: page.t("answers.empty.hint") }));
}

/** Whether it is ready, and if not, why. */
export function startNote(page) {
  if (page.failure) {
    const { code, message } = page.failure;
    const title = make("h2", { text: page.t("start.refused") });
    const help = make("p", { text: page.t("start.refused.help") });
    const again = button(page.t("start.again"), () => page.start());
    return make("div", { class: "notice bad", role: "alert" }, title, ...codeMessage(page, code ?? "", message), help, again);
  }
  if (!page.started) {
    const help = make("span", { class: "hidden", text: page.t("start.checking.help") });
    return make("p", { class: "state waiting" }, make("span", { class: "spinner" }), make("span", { text: page.t("start.checking") }), help);
  }
  const said = page.t("start.ready.short", { n: page.language.number(page.started.golden) });
  const how = make("a", { href: "#/model", text: page.t("start.how") });
  const state = make("p", { class: "state" }, icon("check", 20), make("span", {}, `${said} `, how));
  const use = make("p", { class: "soft narrow" }, `${page.t("use")}: `, make("span", { lang: "en", text: page.started.intendedUse }));
  const lost = page.kept ? null : make("p", { class: "notice warn", text: page.t("answers.lost") });
  return make("div", { class: "stack" }, state, use, lost);
}

/** One answer of the list. */
function answerRow(page, { id, line, thumbnail }, left) {
  const link = make("a", { href: `#/answer/${id}`, text: nameOf(page, line) });
  const what = make("div", { class: "what" }, badge(page, line), line.code ? null : confidence(page, line.confidence));
  if (line.outside?.length) what.append(make("span", { class: "tag", text: page.t("results.outside") }));
  const why = line.code ? make("p", { class: "why" }, `${page.language.sentence(line.code) ?? line.message} `, make("code", { text: line.code })) : null;
  const time = make("time", { class: "time soft", datetime: line.time, text: page.language.moment(line.time) });
  return make("li", { class: "row", "data-id": id }, thumbnailImage(thumbnail, left), what, make("div", { class: "name" }, link, why), time);
}

/** The progress of the files that are being answered. -> {node, draw: () -> void} */
function goingCard(page) {
  const { batch, language } = page;
  const bar = make("progress", { max: batch.jobs.length });
  const going = make("strong");
  const refused = make("span");
  const now = make("p", { class: "now soft" });
  const stop = button(page.t("work.stop"), () => batch.stop(), "", "stop");
  const node = make("section", { class: "card work" }, make("p", {}, going, refused), bar, now, stop);
  const draw = () => {
    bar.value = batch.done;
    bar.setAttribute("aria-label", goingText(page, batch));
    going.textContent = goingText(page, batch);
    refused.textContent = batch.refused ? ` · ${language.counted("work.refused", batch.refused)}` : "";
    now.textContent = page.t("work.now", { name: batch.name });
    stop.disabled = batch.stopped;
  };
  return { node, draw };
}

/** What came of the files. */
function doneCard(page) {
  const { batch } = page;
  const close = button(page.t("work.dismiss"), () => {
    page.batch = null;
    page.refresh();
  }, "quiet");
  const kind = batch.error ? "bad" : batch.stopped ? "warn" : "good";
  const why = batch.error ? endReason(page, batch.error) : [];
  return make("div", { class: `notice ${kind}` }, make("p", { text: doneText(page, batch) }), ...why, close);
}

function goingText(page, batch) {
  const { language } = page;
  return page.t("work.going", { done: language.number(batch.done), total: language.number(batch.jobs.length) });
}

function doneText(page, batch) {
  const { language } = page;
  const total = language.number(batch.jobs.length);
  const early = batch.stopped || batch.error;
  const parts = [early ? page.t("work.stopped", { n: language.number(batch.done), total }) : language.counted("work.done", batch.done - batch.refused)];
  if (batch.refused) parts.push(language.counted("work.refused", batch.refused));
  if (batch.known) parts.push(language.counted("work.known", batch.known));
  if (batch.skipped) parts.push(language.counted("work.skipped", batch.skipped));
  return parts.join(" · ");
}

/** Why the files were not all answered. */
function endReason(page, error) {
  if (error.code) return codeMessage(page, error.code, error.message);
  return [make("p", { text: String(error) })];
}
