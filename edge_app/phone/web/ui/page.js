/** The page around its views: top, what is always in sight, tabs, dialogs, and which view the address asks for. */

import { choose, chosen } from "./choices.js";
import { fill, icon, make } from "./dom.js";
import { Language, firstLanguage } from "./language.js";
import { answersView } from "./answers.js";
import { cameraView } from "./camera_view.js";
import { modelView } from "./model_view.js";
import { resultView } from "./result.js";
import { settingsView } from "./settings.js";

const TABS = [
  ["answers", "#/"],
  ["camera", "#/camera"],
  ["model", "#/model"],
  ["settings", "#/settings"],
];
const THEMES = ["light", "dark"];

/**
 * What a person sees. given: {said: words.json, parsed; page: page.json, parsed; readPart; work: as openWork; keep: as openKeep;
 * kept: whether answers outlive the page}.
 *
 * A view is a function of this page: -> {title, node, docked?: whether it has a bar of buttons, leave?: () -> void}.
 */
export class PhonePage {
  constructor(root, given) {
    Object.assign(this, given);
    this.root = root;
    this.started = null; // what the worker says of itself once every check has passed
    this.failure = null; // why it answers nothing: LimiarError
    this.files = new Map(); // sha256 -> the File that was chosen in this session, for its picture and map
    this.update = null; // () -> void: changes to the new version that is waiting
    this.batch = null; // the files that are being answered
    this.notices = [];
    this.say(chosen("language", ["en", "pt"]) ?? firstLanguage(navigator.languages));
    const wantsDark = matchMedia("(prefers-color-scheme: dark)");
    const paint = () => {
      document.documentElement.dataset.theme = chosen("theme", THEMES) ?? (wantsDark.matches ? "dark" : "light");
    };
    wantsDark.addEventListener("change", paint);
    this.paint = paint;
    paint();
    addEventListener("hashchange", () => this.show(true));
    this.show(false);
  }

  /** Speaks a language from now on: "en" or "pt". */
  say(code) {
    this.language = new Language(code, this.said);
    document.documentElement.lang = { en: "en", pt: "pt-BR" }[code];
  }

  /** The text of a key. */
  t(key, values) {
    return this.language.words(key, values);
  }

  /** Loads and checks what answers. Never throws: what was met is shown. */
  async start() {
    this.failure = null;
    this.refresh();
    try {
      this.started = await this.work.start();
    } catch (error) {
      this.fail(error);
      return;
    }
    this.refresh();
  }

  /** Answers nothing from now on, and says why. */
  fail(error) {
    this.started = null;
    this.failure = error;
    this.refresh();
  }

  /** The view that the address asks for, once more. */
  refresh() {
    this.show(false);
  }

  /** moved: whether a person went there, so that the focus goes along. */
  show(moved) {
    const { view, tab } = this.asked();
    const focused = document.activeElement?.id;
    this.view?.leave?.();
    this.view = view;
    document.title = `${view.title} · limiar`;
    this.announcer ??= make("div", { class: "hidden", role: "status", "aria-live": "polite" });
    const main = make("main", { id: "main", tabindex: "-1" }, make("div", { class: "stack" }, this.noticeBox(), view.node));
    this.root.className = view.docked ? "docked" : "";
    fill(this.root, this.skipLink(), this.top(tab), this.use(), main, this.footer(), this.announcer);
    if (moved) {
      scrollTo(0, 0);
      main.querySelector("h1")?.focus();
    } else if (focused) {
      document.getElementById(focused)?.focus();
    }
  }

  asked() {
    const [, name, id] = location.hash.split("/");
    const views = { camera: cameraView, model: modelView, settings: settingsView };
    if (name === "answer" && /^\d+$/.test(id)) return { view: resultView(this, Number(id)), tab: "answers" };
    if (Object.hasOwn(views, name ?? "")) return { view: views[name](this), tab: name };
    return { view: answersView(this), tab: "answers" };
  }

  /** Says something to everyone: shown above the view, and read out. kind: "good", "bad" or "warn". */
  notify(text, kind = "good") {
    this.notices = [{ text, kind }];
    this.renewNotices();
    this.announce(text);
  }

  /** A new version of the page waits; use() changes to it. */
  offer(use) {
    this.update = use;
    this.renewNotices();
    this.announce(this.t("update.ready"));
  }

  renewNotices() {
    this.root.querySelector(".notices").replaceWith(this.noticeBox());
  }

  /** Says it to those who do not see the page. */
  announce(text) {
    this.announcer.textContent = text;
  }

  noticeBox() {
    const shown = this.notices.map(({ text, kind }) => make("p", { class: `notice ${kind}`, text }));
    this.notices = [];
    if (this.update) {
      const take = make("button", { type: "button", on: { click: () => this.update() }, text: this.t("update.take") });
      shown.push(make("div", { class: "notice row-of-buttons" }, make("span", { text: this.t("update.ready") }), take));
    }
    return make("div", { class: "notices stack" }, ...shown);
  }

  skipLink() {
    const toMain = (event) => {
      event.preventDefault(); // the address belongs to the views
      document.getElementById("main").focus();
    };
    return make("a", { class: "skip", href: "#main", on: { click: toMain }, text: this.t("skip") });
  }

  top(tab) {
    const tabs = TABS.map(([name, address]) => {
      const link = { href: address, "aria-current": name === tab ? "page" : null };
      return make("li", {}, make("a", link, icon(name), make("span", { text: this.t(`nav.${name}`) })));
    });
    const nav = make("nav", { class: "tabs", "aria-label": this.t("nav") }, make("ul", {}, ...tabs));
    const brand = make("span", { class: "brand" }, brandMark(), make("span", { text: "limiar" }));
    return make("header", { class: "top" }, brand, nav, make("div", { class: "tools" }, this.languageSwitch()));
  }

  languageSwitch() {
    const switches = ["en", "pt"].map((code) => {
      const pressed = String(this.language.code === code);
      const title = this.t(`language.${code}`);
      const change = () => this.speak(code);
      const about = { type: "button", id: `say-${code}`, lang: code, title, "aria-pressed": pressed, on: { click: change } };
      return make("button", { ...about, text: code.toUpperCase() });
    });
    return make("div", { class: "language", role: "group", "aria-label": this.t("language") }, ...switches);
  }

  /** A person chose a language. */
  speak(code) {
    choose("language", code);
    this.say(code);
    this.refresh();
  }

  /** A person chose colours: "light", "dark", or null for those of the system. */
  colour(theme) {
    choose("theme", theme);
    this.paint();
  }

  use() {
    const intended = this.started?.intendedUse;
    const said = intended && make("span", { class: "wide" }, ` ${this.t("use.bundle")} `, make("span", { lang: "en", text: intended }));
    const always = make("strong", { text: this.t("use.always") });
    return make("div", { class: "use", role: "note", "aria-label": this.t("use") }, always, said);
  }

  footer() {
    return make("footer", {}, make("p", { text: `${this.page.app} · ${this.t("footer")}` }));
  }
}

/** limiar's mark: edge_app/page/static/icon.svg. */
function brandMark() {
  const svg = new DOMParser().parseFromString(BRAND_MARK, "image/svg+xml").documentElement;
  svg.setAttribute("aria-hidden", "true");
  return document.importNode(svg, true);
}

const BRAND_MARK =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#0b6e69"/>' +
  '<path d="M7 21.5h7.5v-11H25" fill="none" stroke="#fff" stroke-width="3.2" stroke-linecap="round" stroke-linejoin="round"/>' +
  '<circle cx="25" cy="21.5" r="2.4" fill="#ffd166"/></svg>';
