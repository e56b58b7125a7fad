/** A model card's Markdown as elements: edge_app/page/markdown.py once more. Nothing in it becomes HTML, a link or an image. */

import { make } from "./dom.js";

const CARD_HEADING = /^#{1,6}\s/;
const CARD_ITEM = /^\s{0,3}(?:[-*+]|\d{1,3}[.])\s+(.*)$/;
const CARD_CELLS = 30; // of a row that are shown

/** Elements of a card; what is not understood stays as it is. Headings start at level 3. */
export function cardElements(text) {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  const found = [];
  for (let at = 0; at < lines.length; ) {
    const line = lines[at];
    let end = at + 1;
    if (!line.trim()) {
      at += 1;
      continue;
    }
    if (line.startsWith("```")) {
      end = lineAfter(lines, at + 1, (one) => !one.startsWith("```"));
      found.push(make("pre", { tabindex: "0" }, make("code", { text: lines.slice(at + 1, end).join("\n") })));
      end += 1;
    } else if (CARD_HEADING.test(line)) {
      const level = Math.min(6, 2 + line.match(/^#+/)[0].length);
      found.push(make(`h${level}`, {}, ...cardSpans(line.replace(/^#+/, "").trim().replace(/#+$/, "").trim())));
    } else if (isCardRow(line) && at + 1 < lines.length && isCardRule(lines[at + 1])) {
      end = lineAfter(lines, at + 2, isCardRow);
      found.push(cardTable([line, ...lines.slice(at + 2, end)]));
    } else if (CARD_ITEM.test(line)) {
      end = lineAfter(lines, at + 1, (one) => one.trim() && !CARD_HEADING.test(one));
      found.push(make("ul", {}, ...cardItems(lines.slice(at, end)).map((item) => make("li", {}, ...cardSpans(item)))));
    } else {
      end = lineAfter(lines, at + 1, (one) => one.trim() && !CARD_HEADING.test(one) && !CARD_ITEM.test(one));
      found.push(make("p", {}, ...cardSpans(lines.slice(at, end).map((one) => one.trim()).join(" "))));
    }
    at = end;
  }
  return found;
}

const isCardRow = (line) => line.trimStart().startsWith("|");
const isCardRule = (line) => line.includes("|") && line.includes("-") && /^[|:\- ]+$/.test(line);

function lineAfter(lines, start, goesOn) {
  let at = start;
  while (at < lines.length && goesOn(lines[at])) at += 1;
  return at;
}

function cardItems(lines) {
  const found = [];
  for (const line of lines) {
    const item = line.match(CARD_ITEM);
    if (item) found.push(item[1]);
    else found[found.length - 1] += ` ${line.trim()}`;
  }
  return found;
}

function cardTable(rows) {
  const cells = rows.map((row) => row.trim().replace(/^\||\|$/g, "").split("|").slice(0, CARD_CELLS));
  const line = (tag, row) => make("tr", {}, ...row.map((cell) => make(tag, {}, ...cardSpans(cell.trim()))));
  const [head, ...body] = cells;
  const whole = make("table", {}, make("thead", {}, line("th", head)), make("tbody", {}, ...body.map((row) => line("td", row))));
  return make("div", { class: "scroll", tabindex: "0", role: "region" }, whole);
}

function cardSpans(text) {
  const plain = text.replace(/!?\[([^[\]]{1,500})\]\(([^()\s]{1,500})\)/g, "$1 ($2)");
  const found = [];
  let at = 0;
  for (const one of plain.matchAll(/\*\*([^*\n]{1,2000})\*\*|`([^`\n]{1,500})`/g)) {
    if (one.index > at) found.push(plain.slice(at, one.index));
    found.push(one[1] === undefined ? make("code", { text: one[2] }) : make("strong", { text: one[1] }));
    at = one.index + one[0].length;
  }
  found.push(plain.slice(at));
  return found;
}
