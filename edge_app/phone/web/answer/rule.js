/** Logits -> decision: softmax, the model file's rule, images unlike the training images: inference/classifier.py, rule.py. */

import { RuntimeUnavailable } from "../errors.js";
import { asPython } from "./digits.js";

export const REFER = "refer"; // the decision to leave it to a person; no label has this name

/** Logits, Float32Array [K] -> probabilities, numbers [K] of sum 1. */
export function softmax(logits) {
  const largest = logits.reduce((most, logit) => Math.max(most, logit), -Infinity);
  const powers = Array.from(logits, logit => Math.exp(logit - largest));
  const sum = powers.reduce((all, power) => all + power, 0);
  return powers.map(power => power / sum);
}

/**
 * {decision, label, confidence, probabilities: [K]} by a model file's `decision` of the manifest; an image that is outside
 * the envelope is referred. outside: names of statistics, or null. Throws RuntimeUnavailable for NaN or infinity.
 */
export function decideBy(decision, labels, logits, outside = null) {
  const probabilities = softmax(logits);
  if (!probabilities.every(Number.isFinite)) {
    const met = `the model gave logits [${Array.from(logits.slice(0, 4), asPython).join(", ")}]`;
    throw new RuntimeUnavailable("E-RUNTIME-FINITE", `${met}: choose another --file or --runtime`);
  }
  const at = chosenLabel(decision.threshold, labels, probabilities);
  const confidence = probabilities[at];
  const refers = (outside?.length ?? 0) > 0 || confidence < decision.refer_below;
  return { decision: refers ? REFER : labels[at], label: labels[at], confidence, probabilities };
}

/** The index of the label by the threshold, or of the first of those with the largest probability. */
function chosenLabel(threshold, labels, probabilities) {
  if (!threshold) return probabilities.indexOf(Math.max(...probabilities));
  const own = labels.indexOf(threshold.label);
  const wins = probabilities[own] >= threshold.at_least;
  return labels.findIndex(label => (label === threshold.label) === wins);
}
