// The page's sentences, all languages at once: changing the language asks nobody.
const all = JSON.parse(document.getElementById("words").textContent);
const first = document.body.dataset.language;
let language = first;

/** The sentence for a key, its {places} filled in; empty for a key that no language has. */
export function say(key, places = {}) {
  const sentence = all[language][key] ?? "";
  return sentence.replace(/\{(\w+)\}/g, (_, name) => places[name] ?? "");
}

/** True if there is a sentence for this key. */
export const has = (key) => key in all[language];

/** The language that is shown now, and as browsers call it. */
export const current = () => language;
export const locale = () => say("locale");

/** What the button for the next language says, and which language that is. */
export function next() {
  const names = Object.keys(all);
  const code = names[(names.indexOf(language) + 1) % names.length];
  return { code, name: all[code].language };
}

/** Show the next language, or the kiosk's own again. */
export function change(toFirst = false) {
  language = toFirst ? first : next().code;
  paint();
}

/** Put the sentences into every element that names one. */
export function paint() {
  document.documentElement.lang = language;
  document.title = say("title");
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = say(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-alt]")) element.alt = say(element.dataset.tAlt);
  document.dispatchEvent(new Event("language"));
}
