// Asks twice a second what is new while somebody looks, and puts it in place; says so when the page is not reachable any more.

import { onKey } from "./page.js";

const POLL_MS = 500;
const BUSY_MS = 1000; // where a whole strip of answers comes between two looks, nobody reads twice as many
const TOO_LONG_MS = 4000;
const HELD_MS = 5000; // at most: not every press is seen to end, such as one on a scroll bar
const SAY_MS = 10000; // a screen reader is told no more often

const lang = document.documentElement.lang;
const relative = new Intl.RelativeTimeFormat(lang, { numeric: "always" });
const lost = document.getElementById("lost");
const said = document.getElementById("said");
const pause = document.getElementById("pause");
const UNITS = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];

let mark = document.getElementById("live").dataset.mark;
let failures = 0;
let heard = Date.now();
let spoke = 0;
let paused = false;
let busy = false;
let heldUntil = 0; // a link that is moved while it is held down gets no click

function ageOf(element) {
  element.dataset.from ??= String(Date.now() - 1000 * Number(element.dataset.age));
  return (Date.now() - Number(element.dataset.from)) / 1000;
}

function countUp() {
  for (const element of document.querySelectorAll("[data-age]")) {
    const age = ageOf(element);
    const [length, unit] = UNITS.find(([seconds]) => age >= seconds) ?? UNITS.at(-1);
    const text = relative.format(-Math.floor(age / length), unit);
    if (age >= 1 && element.textContent !== text) element.textContent = text;
  }
}

function same(one, other) {
  return one && other && one.dataset.name === other.dataset.name && one.dataset.key === other.dataset.key;
}

// A card that says what it said stays, with its picture and the focus; only its age is taken over.
function put(fresh) {
  const old = document.getElementById("live");
  const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  const cards = [...old.querySelectorAll(".source")];
  for (const card of fresh.querySelectorAll(".source")) {
    const kept = cards.find((one) => same(one, card));
    if (kept) {
      const age = kept.querySelector("[data-age]");
      const now = card.querySelector("[data-age]");
      if (age && now) {
        age.dataset.age = now.dataset.age;
        delete age.dataset.from;
      }
      kept.classList.remove("new");
      card.replaceWith(kept);
    }
  }
  const items = new Map([...old.querySelectorAll(".strip li")].map((item) => [item.dataset.id, item]));
  for (const item of fresh.querySelectorAll(".strip li")) {
    const kept = items.get(item.dataset.id);
    if (kept) {
      kept.classList.remove("new");
      item.replaceWith(kept);
    }
  }
  old.replaceWith(fresh);
  if (focused) fresh.querySelector(`a[href="${CSS.escape(focused)}"]:not([tabindex])`)?.focus({ preventScroll: true });
  say(fresh);
  countUp();
}

function say(fresh) {
  const news = [...fresh.querySelectorAll(".source.new")].map((card) => card.dataset.say);
  if (news.length && Date.now() - spoke > SAY_MS) {
    spoke = Date.now();
    said.textContent = news.join(". ");
  }
}

async function ask() {
  const after = document.getElementById("live").dataset.sequence;
  const answer = await fetch(`/live?after=${after}`, {
    headers: { "If-None-Match": `"${mark}"` },
    signal: AbortSignal.timeout(TOO_LONG_MS),
    redirect: "manual",
  });
  if (answer.status === 401 || answer.type === "opaqueredirect") {
    location.reload(); // to sign in again
    return;
  }
  busy = false;
  if (answer.status !== 304) {
    if (!answer.ok) throw new Error(String(answer.status));
    const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = document.adoptNode(parsed.getElementById("live"));
    if (paused || Date.now() < heldUntil) return;
    mark = fresh.dataset.mark;
    const strip = [...fresh.querySelectorAll(".strip li")];
    busy = strip.length > 0 && strip.every((item) => item.classList.contains("new"));
    put(fresh);
  }
  reached();
}

function reached() {
  failures = 0;
  heard = Date.now();
  lost.hidden = true;
  document.body.classList.remove("lost");
}

function unreachable() {
  failures += 1;
  if (failures < 3 || !lost.hidden) return;
  const time = new Date(heard).toLocaleTimeString(lang);
  lost.textContent = lost.dataset.text.replace("{time}", time);
  lost.hidden = false;
  document.body.classList.add("lost");
}

async function poll() {
  if (!paused && !document.hidden) {
    try {
      await ask();
    } catch {
      unreachable();
    }
  }
  setTimeout(poll, (busy ? BUSY_MS : POLL_MS) * 2 ** Math.min(failures, 3));
}

function toggle() {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
}

addEventListener("pointerdown", () => (heldUntil = Date.now() + HELD_MS), true);
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => (heldUntil = 0), true);
pause.hidden = false;
pause.addEventListener("click", toggle);
onKey({ p: toggle });
setInterval(countUp, 1000);
poll();
