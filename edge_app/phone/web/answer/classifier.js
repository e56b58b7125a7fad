/** Picture -> answer: resize, what is not assessable refused, inference, decision: inference/classifier.py. */

import { modelInput } from "../image/index.js";
import { checkAssessable, checkLimits } from "./assessable.js";
import { outsideOf, statistics } from "./statistics.js";
import { decideBy } from "./rule.js";

/** A loaded model file and the rules around it. */
export class Classifier {
  /** runtime: as from `openRuntime`; manifest: the bundle's, parsed; model: its entry of the model file. */
  constructor(runtime, manifest, model) {
    this.runtime = runtime;
    this.manifest = manifest;
    this.model = model;
  }

  /**
   * A picture {width, height, channels, pixels} -> {decision, label, confidence, probabilities, outside, ms: {resize, infer},
   * map: Float32Array or null}. Throws ImageError, and RuntimeUnavailable.
   */
  answer(picture) {
    const { input, labels } = this.manifest;
    const started = performance.now();
    const tensor = modelInput(picture, input);
    const outside = this.assess(picture, tensor);
    const resized = performance.now();
    const { logits, map } = this.runtime.run(tensor);
    const found = decideBy(this.model.decision, labels, logits, outside);
    return { ...found, outside, map, ms: { resize: resized - started, infer: performance.now() - resized } };
  }

  /** In what a picture is unlike the training images; null: the bundle has no envelope. Throws ImageError. */
  assess(picture, tensor) {
    const { assessable, envelope, input } = this.manifest;
    // Of a grey picture all channels are equal: one is enough.
    const channels = picture.channels === 1 ? 1 : input.channels;
    const seen = channels < input.channels ? tensor.filter((_, at) => at % input.channels === 0) : tensor;
    const shape = { height: input.height, width: input.width, channels };
    const found = assessable || envelope ? statistics(seen, shape) : null;
    checkAssessable(picture, seen);
    if (assessable) checkLimits(assessable, found, seen, shape);
    return envelope ? outsideOf(envelope, found) : null;
  }
}
