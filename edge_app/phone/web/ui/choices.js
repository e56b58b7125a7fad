/** What a person chose here, for the next time: language and colours. A browser that keeps nothing is asked again. */

const NAME = "limiar-phone-";

/** One of the allowed values, or null. */
export function chosen(name, allowed) {
  try {
    const value = localStorage.getItem(NAME + name);
    return allowed.includes(value) ? value : null;
  } catch {
    return null; // storage is switched off
  }
}

/** Keeps a choice; null takes it back. */
export function choose(name, value) {
  try {
    if (value === null) localStorage.removeItem(NAME + name);
    else localStorage.setItem(NAME + name, value);
  } catch {
    // it holds until the page is closed
  }
}
