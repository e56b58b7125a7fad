/** What is checked at every start, before anything is answered: bundle, signature, model file, golden images. */

import { LimiarError } from "../errors.js";
import { openCodecs } from "../codecs/index.js";
import { openRuntime } from "../runtime/litert.js";
import { Classifier } from "../answer/classifier.js";
import { openBundle } from "./bundle.js";
import { checkGolden } from "./golden.js";

/**
 * {classifier, codecs, origin, started}. page: page.json, parsed. Throws LimiarError for whatever is not as it should be.
 *
 * started, for a person: name, version, labels, intendedUse, bundle, file, runtime, app, signature, golden (images),
 * referBelow, hasMap, height, width, channels, ms {files, load, golden, all}.
 */
export async function startAnswering(readPart, page) {
  if (page.schema !== 1) {
    const cure = "reload it, or make it again with `limiar phone`";
    throw new LimiarError("E-PHONE-CHECK", `page.json has schema ${page.schema}, this page reads 1: ${cure}`);
  }
  const begun = performance.now();
  const bundle = await openBundle(readPart, page);
  const bytes = await bundle.read(bundle.path);
  const files = performance.now();
  const [codecs, runtime] = await Promise.all([openCodecs(readPart), openRuntime(readPart, page.model, bytes)]);
  const loaded = performance.now();
  const golden = await checkGolden(bundle, codecs, runtime);
  const ended = performance.now();
  const { manifest, model, sha256, signature } = bundle;
  const origin = { bundle: sha256, file: model.name, runtime: page.runtime, verified: "device", app: `${page.app} phone` };
  const { height, width, channels } = manifest.input;
  const started = {
    name: manifest.name,
    version: manifest.version,
    labels: manifest.labels,
    intendedUse: manifest.intended_use,
    ...origin,
    signature,
    golden,
    referBelow: model.decision.refer_below,
    hasMap: Boolean(model.class_map),
    height,
    width,
    channels,
    ms: { files: files - begun, load: loaded - files, golden: ended - loaded, all: ended - begun },
  };
  return { classifier: new Classifier(runtime, manifest, model), codecs, origin, started };
}
