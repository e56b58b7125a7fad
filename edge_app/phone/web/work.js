/** The page's side of the worker that answers. A picture that costs the worker is refused, and another worker goes on. */

import { BundleError, ImageError, LimiarError, RuntimeUnavailable } from "./errors.js";
import { refusedLine, utcNow } from "./answer/line.js";
import { sha256 } from "./sha256.js";

const START_S = 60; // as E-RUNTIME-START of a device
const PICTURE_S = 15; // 50 megapixels take a tenth of it

/**
 * A worker: {start, answer, frame, end}. place: as from `openPlace`; patienceS: {start, picture}, seconds, other than usual.
 *
 * start() -> Promise of what started (start/start.js); answer(bytes, name, map) -> Promise of {line, picture?, heat?}, and
 * frame(rgba, width, height, about) -> {line}, one after the other in the order of the calls. A picture that is refused is a
 * line with a code. picture {width, height, channels, pixels}, at most 400 px; heat {width, height, pixels, low, high}: RGB.
 * They throw LimiarError where nothing can answer. end() ends the worker; what still waits then throws an Error.
 */
export function openWork(place, patienceS = {}) {
  const limits = { start: START_S, picture: PICTURE_S, ...patienceS };
  let worker = null;
  let started = null;
  let ended = false;
  let last = Promise.resolve();
  let count = 0;

  /** One thing after the other; a failure of one is not that of the next. */
  const inTurn = step => {
    const own = last.then(step);
    last = own.catch(() => {});
    return own;
  };

  const drop = () => {
    worker?.terminate();
    worker = null;
  };

  /** Sends a message; the reply, or what became of the worker: "crash" or "timeout". */
  const ask = (message, limitS, transfer = []) =>
    new Promise(resolve => {
      count += 1;
      const id = count;
      const done = reply => {
        clearTimeout(timer);
        worker.onmessage = worker.onerror = worker.onmessageerror = null;
        resolve(reply);
      };
      const lose = (how, why) => {
        done({ lost: how, why });
        drop();
      };
      const timer = setTimeout(() => lose("timeout", `took over ${limitS} s`), limitS * 1000);
      worker.onmessage = ({ data }) => {
        if (data.id !== id) return;
        if (data.trap) lose("crash", data.message);
        else done(data);
      };
      worker.onerror = event => {
        event.preventDefault?.();
        lose("crash", event.message ?? "no reason");
      };
      worker.onmessageerror = () => lose("crash", "its reply cannot be read");
      worker.postMessage({ id, ...message }, transfer);
    });

  const begin = async () => {
    if (ended) throw endedError();
    if (worker) return started;
    const parts = await place.workerParts();
    worker = await place.startWorker();
    const reply = ended ? {} : await ask({ kind: "start", page: place.pageText, parts }, limits.start);
    if (ended) {
      drop();
      throw endedError();
    }
    if (reply.lost) {
      const met = `the model did not load (${reply.why})`;
      throw new RuntimeUnavailable("E-RUNTIME-START", `${met}: reload the page, or choose another --file`);
    }
    if (!reply.ok) {
      drop(); // the next start checks again
      throw asError(reply);
    }
    started = reply.started;
    return started;
  };

  /** about: the line's first fields. */
  const answered = async (message, about, transfer) => {
    await begin();
    const reply = await ask(message, limits.picture, transfer);
    if (reply.lost) {
      const [code, met] =
        reply.lost === "timeout"
          ? ["E-IMAGE-TIMEOUT", `took over ${limits.picture} s to decode: make it smaller`]
          : ["E-IMAGE-CRASH", "ended the process that decoded it: set the file aside and report it"];
      if (ended) throw endedError();
      return { line: refusedLine(started, new ImageError(code, met), utcNow(), await about()) };
    }
    if (!reply.ok) {
      drop(); // the runtime may be in any state: the next picture gets another one, after its checks
      throw asError(reply);
    }
    const { line, picture, heat } = reply;
    return { line, picture, heat }; // those that there are
  };

  return {
    start: () => inTurn(begin),
    answer: (bytes, name, map = false) =>
      inTurn(() =>
        answered({ kind: "answer", bytes, name, map }, async () => ({ path: name, sha256: await sha256(bytes) }), []),
      ),
    frame: (rgba, width, height, about) =>
      inTurn(() => answered({ kind: "frame", rgba, width, height, about }, async () => about, [rgba.buffer])),
    end: () => {
      ended = true;
      worker?.onerror?.({ message: "ended" });
      drop();
    },
  };
}

function endedError() {
  return new Error("the worker was ended");
}

/** The error that the worker met. */
function asError({ code, message }) {
  const family = /^E-(BUNDLE|RUNTIME|IMAGE)/.exec(code)?.[1];
  const kind = { BUNDLE: BundleError, RUNTIME: RuntimeUnavailable, IMAGE: ImageError }[family] ?? LimiarError;
  return new kind(code, message);
}
