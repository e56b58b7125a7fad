/** Elements of the page. Text is always text: nothing that a file, a bundle or a message says becomes HTML. */

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  answers: "M4 6h4v4H4zM4 14h4v4H4zM12 8h8M12 16h8",
  camera: "M4 8h3.5l1.5-2.5h6L16.5 8H20v11H4zM12 10a3.4 3.4 0 1 0 0 6.8a3.4 3.4 0 0 0 0-6.8z",
  model: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5",
  settings: "M4 7h8M16.5 7H20M14.3 4.8a2.2 2.2 0 1 0 0 4.4a2.2 2.2 0 0 0 0-4.4zM4 17h3.5M12 17h8M9.7 14.8a2.2 2.2 0 1 0 0 4.4a2.2 2.2 0 0 0 0-4.4z",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 8.5h.01",
  folder: "M4 7V5.5h5.5L11.5 8H20v11H4z",
  check: "M5 12.5l4.2 4.2L19 7",
  stop: "M7 7h10v10H7z",
  share: "M12 15V4M8 7.5L12 3.5l4 4M5 12v8h14v-8",
};

/** Properties: class, text, on: {event: function}, and attributes; a value of null or false leaves one out. */
export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name === "text") node.textContent = value;
    else if (name === "on") for (const [event, action] of Object.entries(value)) node.addEventListener(event, action);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Puts children in the place of what a node holds; null and false are passed over. */
export function fill(node, ...children) {
  node.replaceChildren(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

function svgElement(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** One of ICONS, size_px wide and high; text beside it says what it means. */
export function icon(name, size_px = 22) {
  const box = { class: "icon", viewBox: "0 0 24 24", width: size_px, height: size_px, "aria-hidden": "true" };
  return svgElement("svg", box, svgElement("path", { d: ICONS[name] }));
}

/** The bar of a confidence of 0 to 1, as decoration of its number. */
export function bar(share) {
  const whole = svgElement("rect", { class: "track", width: "100", height: "6", rx: "3" });
  const part = svgElement("rect", { class: "fill", width: (100 * share).toFixed(1), height: "6", rx: "3" });
  return svgElement("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, whole, part);
}

/** Text with its `code` set apart. */
export function withCode(text) {
  const parts = text.split(/`([^`\n]+)`/);
  return parts.map((part, at) => (at % 2 ? make("code", { text: part }) : part));
}

/** A button that does something; kind: "primary", "danger", "quiet" or "". */
export function button(text, action, kind = "", iconName = null) {
  const child = iconName ? icon(iconName) : null;
  return make("button", { type: "button", class: kind || null, on: { click: action } }, child, make("span", { text }));
}
