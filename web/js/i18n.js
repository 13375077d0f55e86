// Strings and formats in the browser's language, as far as there is a file of it in ../strings.
const KNOWN = ["en", "de"];
const asked = (navigator.languages ?? [navigator.language]).map((each) => each.slice(0, 2).toLowerCase());

export const language = asked.find((each) => KNOWN.includes(each)) ?? "en";
document.documentElement.lang = language;

/** @type {typeof import("../strings/en.js").default} */
export const t = (await import(`../strings/${language}.js`)).default;

/** A name in words, where there are words for it. @param {Record<string, string>} words @param {string} name */
export const inWords = (words, name) => words[name] ?? name;

const place = (navigator.languages ?? []).find((each) => each.toLowerCase().startsWith(language)) ?? language;
// the names that PostgreSQL's text search has for languages
const CODES = { arabic: "ar", armenian: "hy", basque: "eu", catalan: "ca", danish: "da", dutch: "nl", english: "en", finnish: "fi", french: "fr", german: "de", greek: "el", hindi: "hi", hungarian: "hu", indonesian: "id", irish: "ga", italian: "it", lithuanian: "lt", nepali: "ne", norwegian: "no", portuguese: "pt", romanian: "ro", russian: "ru", serbian: "sr", spanish: "es", swedish: "sv", tamil: "ta", turkish: "tr", yiddish: "yi" };
const languages = new Intl.DisplayNames(place, { type: "language" });

/** A language's name in the reader's, of several each. @param {string} name as PostgreSQL's text search has it: `english/german` */
export const languageName = (name) => name.split("/").map((each) => (Object.hasOwn(CODES, each) ? (languages.of(CODES[/** @type {keyof typeof CODES} */ (each)]) ?? each) : each)).join("/");

const whole = new Intl.NumberFormat(place);
const parts = new Intl.NumberFormat(place, { maximumFractionDigits: 3 });
const moment = new Intl.DateTimeFormat(place, { dateStyle: "medium", timeStyle: "short" });
const time = new Intl.DateTimeFormat(place, { timeStyle: "medium" });
const exact = new Intl.DateTimeFormat(place, { dateStyle: "medium", timeStyle: "medium" });
const date = new Intl.DateTimeFormat(place, { day: "numeric", month: "short", timeZone: "UTC" });
const dollars = new Intl.NumberFormat(place, { style: "currency", currency: "USD", maximumFractionDigits: 4 });

/** @param {number} value */
export const count = (value) => whole.format(value);

/** @param {number} value */
export const score = (value) => parts.format(value);

/** @param {string} iso */
export const when = (iso) => moment.format(new Date(iso));

/** The time of the day, to the second. @param {string} iso */
export const clock = (iso) => time.format(new Date(iso));

/** To the second. @param {string} iso */
export const whenExact = (iso) => exact.format(new Date(iso));

const relative = new Intl.RelativeTimeFormat(place, { numeric: "auto", style: "narrow" });
const SPANS = /** @type {const} */ ([["day", 86_400], ["hour", 3600], ["minute", 60]]);

/** How long ago it was; the date where that is more than a week. @param {string} iso */
export function ago(iso) {
  const seconds = Math.max(0, (Date.now() - Date.parse(iso)) / 1000);
  if (seconds > 7 * 86_400) return date.format(new Date(iso));
  const [unit, size] = SPANS.find(([, size]) => seconds >= size) ?? ["minute", 60];
  return relative.format(-Math.floor(seconds / size), unit);
}

/** A day of UTC's. @param {string} iso */
export const whenDay = (iso) => date.format(new Date(iso));

/** @param {number} usd */
export const money = (usd) => dollars.format(usd);

/** @param {number} bytes */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${new Intl.NumberFormat(place, { maximumFractionDigits: power ? 1 : 0 }).format(bytes / 1000 ** power)} ${units[power]}`;
}

/** @param {number} ms */
export const duration = (ms) => (ms < 1000 ? `${whole.format(Math.round(ms))} ms` : `${parts.format(Math.round(ms / 10) / 100)} s`);
