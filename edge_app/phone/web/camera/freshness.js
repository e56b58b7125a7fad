/**
 * Tells a new frame of a camera from one that was shown before, which must never become an answer: edge_app/camera/freshness.py.
 *
 * A sensor's noise never gives two equal frames. How long a frame was on its way, which the Python looks at too, a browser does
 * not say of a camera in the same device.
 */

import { LimiarError } from "../errors.js";

const FROZEN_S = 4.5;
const FROZEN_SAID_S = 5; // what a person is told
const SAMPLE_ROWS = 32; // every 32nd row is enough to tell most frames apart
const BUFFERS = 6; // a driver that hangs may show its buffers in turn
const PROOF_S = 5; // a slow camera is believed after so long, even if it has not shown more frames than there are buffers

/** What is known of a camera's last frames. */
export class Freshness {
  /** name: of the camera, for what it throws. */
  constructor(name) {
    this.name = name;
    this.last = null; // Uint32Array, a pixel each
    this.shown = []; // {sample, whole}: digests; whole is null while it is not known
    this.firstS = null; // when the first frame came
    this.newOnes = 0; // frames so far that repeat none
    this.freshS = 0; // when the last of them came
  }

  /**
   * Whether a frame was shown before. Throws LimiarError E-SOURCE-FROZEN if no new one has come for too long.
   *
   * pixels: Uint32Array [height * width], RGBA in memory, which must not change later; nowS: by a clock that does not jump.
   */
  isOld(pixels, width, nowS) {
    const repeated = this.repeated(pixels, width);
    this.firstS ??= nowS;
    if (!repeated) {
      this.newOnes += 1;
      this.freshS = nowS;
    } else if (nowS - this.freshS >= FROZEN_S) {
      const met = `${this.name} has repeated its last frames for ${FROZEN_SAID_S} s`;
      throw new LimiarError("E-SOURCE-FROZEN", `${met}: restart the camera`);
    }
    return repeated;
  }

  /** Whether the frames so far prove that the camera shows new ones: one that froze before shows a stale frame first. */
  proves(nowS) {
    return this.newOnes > BUFFERS || (this.newOnes > 1 && nowS - this.firstS >= PROOF_S);
  }

  repeated(pixels, width) {
    const last = this.last;
    this.last = pixels;
    if (isGrey(pixels[0]) && pixels.every((pixel) => pixel === pixels[0])) return false; // covered: refused as such later
    if (last && last.length === pixels.length && pixels.every((pixel, at) => pixel === last[at])) return true;
    const sample = digestRows(pixels, width, SAMPLE_ROWS);
    const alike = this.shown.filter((one) => one.sample === sample);
    const whole = alike.length ? digestRows(pixels, width, 1) : null;
    // The first frame that might be a repeat counts as one; from then on the digest of its pixels is known.
    const repeated = alike.some((one) => one.whole === null || one.whole === whole);
    for (const one of alike) one.whole ??= whole;
    if (!repeated) {
      this.shown.push({ sample, whole });
      if (this.shown.length > BUFFERS) this.shown.shift();
    }
    return repeated;
  }
}

function isGrey(pixel) {
  const red = pixel & 255;
  return red === ((pixel >>> 8) & 255) && red === ((pixel >>> 16) & 255);
}

/** FNV-1a over the pixels of every n-th row, 32 bits. */
function digestRows(pixels, width, every) {
  let digest = 0x811c9dc5;
  for (let start = 0; start < pixels.length; start += width * every) {
    for (let at = start; at < start + width; at += 1) digest = Math.imul(digest ^ pixels[at], 0x01000193);
  }
  return digest >>> 0;
}
