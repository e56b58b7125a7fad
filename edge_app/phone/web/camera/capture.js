/**
 * The device's camera. Its pixels are the browser's own (colours, scaling and all), unlike those of files: a line's source says so,
 * "browser-camera:rear".
 *
 * The square in the middle of the picture is looked at: a bundle's model sees a square, and shows nothing that a person does not.
 */

import { LimiarError } from "../errors.js";
import { Freshness } from "./freshness.js";

const ASKED = { width: { ideal: 1280 }, height: { ideal: 720 } };
const FACING = { rear: "environment", front: "user" };
const STALLED_S = 5;
const TICK_MS = 250;
const POLL_MS = 10; // where the browser does not say when it shows a frame
const THUMBNAIL_PX = 160;
const QUALITY = 0.8; // of a thumbnail
const SEQUENCES = new Map(); // source -> frames that it gave since the page was loaded, over all runs

/**
 * Opens a camera, and shows it in a video element that is muted and plays inline. -> BrowserCamera
 *
 * which: "rear", "front" or a deviceId. Throws LimiarError: E-PHONE-SECURE, E-SOURCE-DENIED, E-SOURCE-OPEN, E-SOURCE-BUSY.
 */
export async function openCamera(which, video) {
  const devices = navigator.mediaDevices;
  if (!devices?.getUserMedia) {
    throw new LimiarError("E-PHONE-SECURE", "a browser gives its camera to a page by https or on localhost alone: open it so");
  }
  const chosen = FACING[which] ? { facingMode: { ideal: FACING[which] } } : { deviceId: { exact: which } };
  let stream;
  try {
    stream = await devices.getUserMedia({ audio: false, video: { ...ASKED, ...chosen } });
    video.srcObject = stream;
    await video.play();
  } catch (error) {
    for (const track of stream?.getTracks() ?? []) track.stop();
    video.srcObject = null;
    throw cameraError(error);
  }
  const [track] = stream.getVideoTracks();
  return new BrowserCamera(await sourceName(track), video, track);
}

/** The cameras that there are, once one has been opened. -> [{deviceId, label}] */
export async function listCameras() {
  const devices = await navigator.mediaDevices?.enumerateDevices() ?? [];
  return devices.filter(({ kind }) => kind === "videoinput").map(({ deviceId, label }) => ({ deviceId, label }));
}

class BrowserCamera {
  constructor(source, video, track) {
    this.source = source;
    this.video = video;
    this.track = track;
    this.deviceId = track.getSettings().deviceId; // as listCameras has it
    this.canvas = null; // OffscreenCanvas, of the last frame
    this.freshness = new Freshness(source);
    this.presented = null; // frames that the browser had shown when the last one was taken
    this.dropped = 0;
    this.closed = false;
  }

  /**
   * The latest frame, once there is a new one; null after close().
   *
   * -> {rgba: Uint8Array [side * side * 4], width, height, about: {source, sequence, taken, dropped}}.
   * Throws LimiarError: E-SOURCE-STALLED, E-SOURCE-FROZEN, E-SOURCE-ENDED.
   */
  async frame() {
    for (;;) {
      const presented = await this.shown();
      if (this.closed) return null;
      const taken = new Date().toISOString();
      const passed = this.presented === null ? 0 : Math.max(0, presented - this.presented - 1);
      this.presented = presented;
      this.count(passed + 1);
      this.dropped += passed;
      const { data, width, height } = this.grabbed();
      const nowS = performance.now() / 1000;
      if (this.freshness.isOld(new Uint32Array(data.buffer), width, nowS) || !this.freshness.proves(nowS)) {
        this.dropped += 1;
        continue;
      }
      const about = { source: this.source, sequence: SEQUENCES.get(this.source), taken, dropped: this.dropped };
      this.dropped = 0;
      // A copy, since a worker takes its memory away, and the next frame is compared with this one.
      return { rgba: new Uint8Array(data), width, height, about };
    }
  }

  /** A small picture of the last frame. -> Blob */
  async thumbnail() {
    const small = new OffscreenCanvas(THUMBNAIL_PX, THUMBNAIL_PX);
    small.getContext("2d").drawImage(this.canvas, 0, 0, THUMBNAIL_PX, THUMBNAIL_PX);
    return small.convertToBlob({ type: "image/jpeg", quality: QUALITY });
  }

  /** Lets go of the camera: its light goes out. */
  close() {
    this.closed = true;
    this.track.stop();
    this.video.srcObject = null;
  }

  count(frames) {
    SEQUENCES.set(this.source, (SEQUENCES.get(this.source) ?? 0) + frames);
  }

  /** Waits for a frame that was not there before; how many the browser has shown by then. */
  async shown() {
    const next = nextFrame(this.video, this.presented, () => this.closed);
    for (let waitedS = 0; ; waitedS += TICK_MS / 1000) {
      const presented = await Promise.race([next, sleepMs(TICK_MS)]);
      if (presented !== undefined || this.closed) return presented;
      if (this.track.readyState === "ended") {
        throw new LimiarError("E-SOURCE-ENDED", `${this.source} has ended: connect or allow it, then start again`);
      }
      if (document.hidden) waitedS = 0; // nobody looks, and the browser shows no frames
      if (waitedS >= STALLED_S) {
        throw new LimiarError("E-SOURCE-STALLED", `${this.source} gave no frame for ${STALLED_S} s: start it again`);
      }
    }
  }

  /** The square in the middle of what the video shows now. -> ImageData */
  grabbed() {
    const { videoWidth, videoHeight } = this.video;
    const side = Math.min(videoWidth, videoHeight);
    if (this.canvas?.width !== side) this.canvas = new OffscreenCanvas(side, side);
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(this.video, (videoWidth - side) >> 1, (videoHeight - side) >> 1, side, side, 0, 0, side, side);
    return context.getImageData(0, 0, side, side);
  }
}

function nextFrame(video, before, isOver) {
  if (video.requestVideoFrameCallback) {
    return new Promise((resolve) => {
      video.requestVideoFrameCallback((now, { presentedFrames }) => resolve(presentedFrames));
    });
  }
  return polledFrame(video, before, isOver);
}

async function polledFrame(video, before, isOver) {
  for (;;) {
    const shown = video.getVideoPlaybackQuality().totalVideoFrames;
    if (shown > (before ?? 0) || isOver()) return shown;
    await sleepMs(POLL_MS);
  }
}

function sleepMs(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

/** "browser-camera:rear", ":front", or where the browser does not say which it is, its number. */
async function sourceName(track) {
  const { facingMode, deviceId } = track.getSettings();
  const facing = Object.keys(FACING).find((name) => FACING[name] === facingMode);
  const number = (await listCameras()).findIndex((camera) => camera.deviceId === deviceId);
  return `browser-camera:${facing ?? Math.max(0, number)}`;
}

function cameraError(error) {
  const reason = error.message || error.name;
  if (error.name === "NotAllowedError") {
    return new LimiarError("E-SOURCE-DENIED", `the browser gives this page no camera (${reason}): allow it in the page's settings`);
  }
  if (error.name === "NotReadableError") {
    return new LimiarError("E-SOURCE-BUSY", `the camera cannot be used (${reason}): close the program that uses it`);
  }
  return new LimiarError("E-SOURCE-OPEN", `no camera opens (${reason}): connect one, then try again`);
}
