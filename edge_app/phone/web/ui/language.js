/** Words, numbers and dates of the page, in English and Portuguese: edge_app/page/language.py once more. */

const LANGUAGES = ["en", "pt"];
const MONTHS = {
  en: ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
  pt: ["jan.", "fev.", "mar.", "abr.", "maio", "jun.", "jul.", "ago.", "set.", "out.", "nov.", "dez."],
};

/** A language of the page: code "en" or "pt"; said: what words.json holds. */
export class Language {
  constructor(code, said) {
    this.code = code;
    this.index = LANGUAGES.indexOf(code);
    this.said = said;
  }

  /** The text of a key, with {name} filled in. Throws where there is no such key. */
  words(key, values = {}) {
    const pair = this.said.words[key];
    if (!pair) throw new Error(`no words for ${key}`);
    return pair[this.index].replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
  }

  /** The text of key.one or key.other, with {n} filled in. */
  counted(key, count) {
    return this.words(`${key}.${count === 1 ? "one" : "other"}`, { n: this.number(count) });
  }

  /** What an error code means, in one sentence; null if it is not known here. */
  sentence(code) {
    const pair = this.said.codes[code];
    return pair ? pair[this.index] : null;
  }

  /** 1,234.5 or 1.234,5. */
  number(value, digits = 0) {
    const [whole, part] = value.toFixed(digits).split(".");
    const [thousands, point] = this.code === "en" ? [",", "."] : [".", ","];
    const grouped = whole.replace(/\B(?=(\d{3})+$)/g, thousands);
    return part ? grouped + point + part : grouped;
  }

  /** Of a share of 0 to 1; never rounded to certainty. */
  percent(share, digits = 1) {
    const [low, high] = [10 ** -digits, 100 - 10 ** -digits];
    if (high < 100 * share && share < 1 && Number((100 * share).toFixed(digits)) === 100) return `> ${this.number(high, digits)}%`;
    if (share > 0 && 100 * share < low / 2) return `< ${this.number(low, digits)}%`;
    return `${this.number(100 * share, digits)}%`;
  }

  /** Of bytes: "3.2 MB". */
  size(count) {
    const [divisor, unit, digits] = count < 1e3 ? [1, "B", 0] : count < 1e6 ? [1e3, "kB", 0] : [1e6, "MB", 1];
    return `${this.number(count / divisor, digits)} ${unit}`;
  }

  /** Day and time of an instant (ISO 8601, UTC) in the phone's time zone; as it is if it is no instant. */
  moment(iso) {
    const local = new Date(iso);
    if (Number.isNaN(local.getTime())) return iso;
    const joint = this.code === "pt" ? " de " : " ";
    const clock = [local.getHours(), local.getMinutes(), local.getSeconds()].map((part) => String(part).padStart(2, "0"));
    return `${local.getDate()}${joint}${MONTHS[this.code][local.getMonth()]}${joint}${local.getFullYear()}, ${clock.join(":")}`;
  }
}

/** The first of the browser's languages (["pt-BR", …]) that the page speaks; English if it speaks none. */
export function firstLanguage(wanted) {
  const codes = wanted.map((tag) => tag.slice(0, 2).toLowerCase());
  return codes.find((code) => LANGUAGES.includes(code)) ?? "en";
}
