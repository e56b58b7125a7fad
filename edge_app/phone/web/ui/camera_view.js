/** The view of the camera: what it sees, and the answer large, live. A decision that lasts is kept by itself. */

import { button, fill, icon, make } from "./dom.js";
import { startNote } from "./answers.js";
import { codeMessage, confidence, decisionText, labelsOf, tone } from "./said.js";
import { listCameras, openCamera } from "../camera/capture.js";
import { CAMERA_RULE, Watch } from "../camera/watch.js";

const RATE_OVER_MS = 2000;
const REAR = "rear";

/** The view: see PhonePage. */
export function cameraView(page) {
  const title = page.t("camera.title");
  const live = make("section", { class: "card live", "aria-live": "off" });
  const seen = make("div", { class: "view" });
  const dock = make("div", { class: "dock" });
  const looking = { watch: null, which: REAR, times: [], wanted: 0, last: null, foot: null };

  const rest = () => {
    fill(seen, icon("camera", 48));
    fill(live, make("p", { text: page.t("camera.ready", CAMERA_RULE) }), make("p", { class: "soft", text: page.t("camera.browser") }));
    const start = button(page.t("camera.start"), begin, "primary", "camera");
    start.disabled = page.started === null || page.batch?.running === true;
    fill(dock, start);
  };
  const stop = () => {
    looking.wanted += 1;
    looking.watch?.stop();
    looking.watch = null;
  };
  const fail = (error) => {
    stop();
    rest();
    const title = make("h2", { text: page.t("camera.failed") });
    const told = error.code ? codeMessage(page, error.code, error.message) : [make("p", { text: String(error) })];
    fill(live, make("div", { class: "notice bad", role: "alert" }, title, ...told));
  };
  const begin = async () => {
    stop();
    const own = looking.wanted;
    const video = make("video", { muted: true, playsinline: true, "aria-label": page.t("camera.view") });
    video.muted = true; // the attribute alone does not count for an element that a script made
    fill(seen, video);
    fill(live, make("p", { class: "said none", text: page.t("camera.looking") }));
    fill(dock, button(page.t("camera.stop"), () => {
      stop();
      rest();
    }, "primary", "stop"));
    try {
      const camera = await openCamera(looking.which, video);
      if (own !== looking.wanted) {
        camera.close();
        return;
      }
      looking.times = [];
      looking.foot = liveFoot(page);
      const ask = async ({ rgba, width, height, about }) => (await page.work.frame(rgba, width, height, about)).line;
      looking.watch = new Watch(camera, ask, (look) => showLook(page, live, look, looking));
      await addChoice(camera);
      await looking.watch.run();
    } catch (error) {
      if (own === looking.wanted) fail(error);
    }
  };
  /** The other cameras, which a browser names once it has given one. */
  const addChoice = async ({ deviceId: open }) => {
    const cameras = await listCameras();
    if (cameras.length < 2) return;
    const options = cameras.map(({ deviceId, label }, at) => {
      const text = label || `${page.t("camera.title")} ${at + 1}`;
      return make("option", { value: deviceId, selected: deviceId === open, text });
    });
    const change = (event) => {
      looking.which = event.target.value;
      begin();
    };
    dock.prepend(make("select", { "aria-label": page.t("camera.which"), on: { change } }, ...options));
  };

  rest();
  const heading = make("div", { class: "heading" }, make("h1", { tabindex: "-1", text: title }));
  const ready = page.started ? null : startNote(page);
  const node = make("div", { class: "stack" }, heading, ready, make("div", { class: "seeing" }, seen, live), dock);
  return { title, node, docked: true, leave: stop };
}

/** What the frames say now; keeps what is to be kept. look: see Watch. */
async function showLook(page, live, look, looking) {
  const { line, vote, seen, keep, picture } = look;
  const kept = keep ? await page.keep.add(line, picture) : null;
  const now = performance.now();
  looking.times = [...looking.times.filter((one) => now - one < RATE_OVER_MS), now];
  if (kept) {
    looking.last = kept.id;
    page.announce(`${decisionText(page, line.decision)}, ${page.t("camera.kept", { id: kept.id })}`);
  }
  const said = line.code ? refusedLook(page, line) : vote ? votedLook(page, line, vote) : [unsaid(page)];
  const agrees = line.code ? null : dotsOf(page, vote, seen);
  const { foot } = looking;
  foot.draw(looking);
  // The foot stays in its place: a link that is made anew for each frame is gone before a finger leaves it.
  for (const old of [...live.children]) if (old !== foot.node) old.remove();
  live.prepend(...[...said, agrees].filter((one) => one !== null));
  if (!live.contains(foot.node)) live.append(foot.node);
}

/** How many frames a second, and the way to what was kept last. -> {node, draw(looking) -> void} */
function liveFoot(page) {
  const rate = make("span");
  const link = make("a", { hidden: true });
  const draw = ({ times, last }) => {
    const perSecond = page.language.number(times.length / (RATE_OVER_MS / 1000), 1);
    rate.textContent = page.t("camera.rate", { rate: perSecond }) + (last ? " · " : "");
    const address = `#/answer/${last}`;
    if (!last || link.getAttribute("href") === address) return;
    link.hidden = false;
    link.href = address;
    link.textContent = page.t("camera.kept", { id: last });
  };
  return { node: make("p", { class: "soft" }, rate, link), draw };
}

function unsaid(page) {
  return make("p", { class: "said none", text: page.t("camera.not-agreed") });
}

function refusedLook(page, line) {
  const word = make("p", { class: "said refused", text: page.t("decision.refused") });
  return [word, make("p", {}, `${page.language.sentence(line.code) ?? line.message} `, make("code", { text: line.code }))];
}

function votedLook(page, line, vote) {
  const { decision, label } = vote;
  const refers = decision === "refer";
  const word = refers ? page.t("decision.refer.long") : decisionText(page, decision);
  const outside = line.outside?.length ? make("p", {}, make("span", { class: "tag", text: page.t("results.outside") })) : null;
  return [
    make("p", { class: `said ${tone(decision, labelsOf(line))}`, text: word }),
    refers ? make("p", { class: "soft", text: page.t("result.model-says", { label }) }) : null,
    make("p", {}, make("span", { class: "hidden", text: page.t("confidence") }), confidence(page, vote.confidence)),
    outside,
  ];
}

/** A dot for each frame that counts, filled if it agrees. seen: decisions, the oldest first. */
function dotsOf(page, vote, seen) {
  const agreed = vote?.decision;
  const dots = Array.from({ length: CAMERA_RULE.of }, (_, at) => {
    return make("i", { class: at < seen.length && seen[at] === agreed ? "agrees" : null });
  });
  const { language } = page;
  const agreeing = language.number(vote?.agreeing ?? 0);
  const text = vote ? page.t("camera.agreeing", { agreeing, frames: language.number(vote.frames) }) : page.t("camera.not-agreed");
  return make("p", { class: "soft" }, make("span", { class: "dots", "aria-hidden": "true" }, ...dots), text);
}
