/** How the page says an answer: its decision, its confidence, why there is none. */

import { bar, make, withCode } from "./dom.js";

const TONES = 8; // of labels, in turn

/** The class of a decision's colour. labels: text[]. */
export function tone(decision, labels) {
  if (decision === "refer" || decision === "refused") return decision;
  return `label-${Math.max(0, labels.indexOf(decision)) % TONES}`;
}

/** The word for a decision: a label is its own. */
export function decisionText(page, decision) {
  return decision === "refer" || decision === "refused" ? page.t(`decision.${decision}`) : decision;
}

/** The labels of a line, in the bundle's order. */
export function labelsOf(line) {
  return Object.keys(line.probabilities ?? {});
}

/** A decision as a badge. */
export function badge(page, line) {
  return make("span", { class: `badge ${tone(line.decision, labelsOf(line))}`, text: decisionText(page, line.decision) });
}

/** A share of 0 to 1 as a bar and a number. */
export function confidence(page, share) {
  return make("span", { class: "confidence" }, bar(share), make("span", { text: page.language.percent(share) }));
}

/** Why there is no answer: the code's sentence in the page's language, and with details the code and its own message. */
export function codeMessage(page, code, message) {
  const sentence = page.language.sentence(code) ?? message;
  const own = make("p", {}, make("code", { text: code }), " ", make("span", { lang: "en" }, ...withCode(message)));
  const more = make("details", {}, make("summary", { text: page.t("details") }), own);
  return [make("p", {}, ...withCode(sentence)), more];
}

/** What the line is of: a file's name, or a frame of a camera. */
export function nameOf(page, line) {
  if (line.path != null) return line.path;
  return `${line.source} · ${page.t("results.frame", { number: page.language.number(line.sequence) })}`;
}

/** Terms and what they mean, for <dl class="facts">; pairs whose second is null are left out. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const cells = shown.flatMap(([term, value]) => [make("dt", { text: term }), make("dd", {}, ...[value].flat())]);
  return make("dl", { class: "facts" }, ...cells);
}
