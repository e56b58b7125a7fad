/** The bundle in the page: its manifest, and its files by the sizes and hashes that the manifest lists: bundle/open.py. */

import { BundleError } from "../errors.js";
import { sha256 } from "../sha256.js";
import { checkSignature } from "./signature.js";

const DECODE_RULE = "pillow-v1";
const RESIZE_RULE = "stretch-v1";
const COPY_AGAIN = "copy the bundle again";

/**
 * {manifest, model, signature, sha256, read}: the manifest, parsed; its entry of the page's model file; what `checkSignature`
 * says; read(path) -> Promise of the checked bytes of a listed file. page: page.json, parsed. Throws BundleError.
 */
export async function openBundle(readPart, page) {
  const raw = await readPart("bundle/manifest.json");
  const digest = await sha256(raw);
  if (digest !== page.bundle) {
    const met = `manifest.json has sha256 ${digest.slice(0, 12)}, the page says ${page.bundle.slice(0, 12)}`;
    throw new BundleError("E-BUNDLE-HASH", `bundle: ${met}: ${COPY_AGAIN}`);
  }
  const isSigned = Object.hasOwn(page.parts, "bundle/manifest.sig");
  const signature = await checkSignature(raw, isSigned ? await readPart("bundle/manifest.sig") : null, page.keys);
  const manifest = readManifest(raw);
  const listed = new Map(manifest.files.map(file => [file.path, file]));
  const file = manifest.files.find(({ model }) => model?.name === page.file);
  if (!file) {
    const known = manifest.files.flatMap(({ model }) => (model ? [model.name] : [])).sort().join(", ");
    throw new BundleError("E-BUNDLE-FILE", `bundle has no model file ${page.file}: choose one of ${known}`);
  }
  const read = async path => checkedFile(listed.get(path), path, await readPart(`bundle/${path}`));
  return { manifest, model: file.model, path: file.path, signature, sha256: digest, read };
}

/** What the page needs of a manifest that `limiar phone` has read by its whole schema. Throws BundleError. */
function readManifest(raw) {
  let manifest;
  try {
    manifest = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(raw));
  } catch (error) {
    throw new BundleError("E-BUNDLE-MANIFEST", `bundle/manifest.json: ${error.message}: ${COPY_AGAIN}, or convert again`);
  }
  if (manifest.schema !== 1) {
    const cure = "install the limiar version that made it";
    throw new BundleError("E-BUNDLE-SCHEMA", `bundle: schema ${manifest.schema}, this app reads 1: ${cure}`);
  }
  const { decode, resize, dicom } = manifest.input;
  if (decode !== DECODE_RULE || resize !== RESIZE_RULE || dicom || manifest.tiles) {
    const met = `image rules ${[decode, resize, ...(dicom ? ["dicom"] : []), ...(manifest.tiles ? ["tiles"] : [])].join(", ")}`;
    throw new BundleError("E-BUNDLE-RULES", `bundle: ${met}: this app has ${DECODE_RULE}, ${RESIZE_RULE}`);
  }
  return manifest;
}

async function checkedFile(file, path, bytes) {
  if (!file) throw new BundleError("E-BUNDLE-MISSING", `bundle does not list ${path}: convert the model again`);
  if (bytes.length !== file.bytes) {
    const met = `${path} is not the ${file.bytes} bytes the manifest says`;
    throw new BundleError("E-BUNDLE-SIZE", `bundle: ${met}: ${COPY_AGAIN}`);
  }
  const digest = await sha256(bytes);
  if (digest !== file.sha256) {
    const met = `${path} has sha256 ${digest.slice(0, 12)}, the manifest says ${file.sha256.slice(0, 12)}`;
    throw new BundleError("E-BUNDLE-HASH", `bundle: ${met}: ${COPY_AGAIN}`);
  }
  return bytes;
}
