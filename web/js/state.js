// What the whole page shares: where we are, who we are, how questions are asked. All of it but the key is in the address.
import { get } from "./api.js";
import { computed, effect, signal } from "./lib.js";

/** What paths begin with: of asking, of conversations, of the other views. */
const VIEWS = ["", "c", "documents", "collections", "quality", "operate"];
/** The part of the address behind `#`: a path and its parameters. */
const place = signal(read());
window.addEventListener("hashchange", () => (place.value = read(place.value.params.get("collection"))));

/** Read the address. One that leads nowhere becomes that of asking. @param {string | null} collection which was shown before */
function read(collection = null) {
  const [path, search = ""] = location.hash.replace(/^#/, "").split("?");
  const params = new URLSearchParams(search);
  if (path === "" || isKnown(path)) return { path: path || "/", params };
  if (collection && !params.has("collection")) params.set("collection", collection);
  history.replaceState(null, "", hashOf("/", params));
  return { path: "/", params };
}

/** @param {string} path */
function isKnown(path) {
  const [before, view, id = ""] = path.split("/");
  if (view === "c" && /%(?![0-9a-f]{2})/i.test(id)) return false;
  return before === "" && VIEWS.includes(view);
}

/** @param {string} path @param {URLSearchParams} params */
function hashOf(path, params) {
  const text = params.toString();
  return `#${path}${text ? `?${text}` : ""}`;
}

export const path = computed(() => place.value.path);
export const params = computed(() => place.value.params);

/** Change the address. @param {{path?: string, set?: Record<string, string | null>, push?: boolean}} change */
export function go({ path: to = place.value.path, set = {}, push = false }) {
  const next = new URLSearchParams(place.value.params);
  for (const [name, value] of Object.entries(set)) {
    if (value === null || value === "") next.delete(name);
    else next.set(name, value);
  }
  const hash = hashOf(to, next);
  if (hash === location.hash) return;
  history[push ? "pushState" : "replaceState"](null, "", hash);
  place.value = { path: to, params: next };
}

/** Whoever asks, as `GET /me` tells; null while that is not known. */
export const me = signal(/** @type {Page.Me | null} */ (null));
const OF_THE_SERVER = ["tenants", "metrics"]; // which an administrator of a tenant does not have
/** @param {string} scope */
export const may = (scope) => me.value !== null && (me.value.scopes.includes(scope) || (me.value.scopes.includes("admin") && !OF_THE_SERVER.includes(scope)));

/** Collections that whoever asks can see; null while they are not known. */
export const collections = signal(/** @type {Api.CollectionOut[] | null} */ (null));

/** Read the list of collections, with the numbers of their documents. */
export async function loadCollections() {
  const found = [];
  /** @type {string | null} */
  let cursor = null;
  do {
    /** @type {Api.PageOut<Api.CollectionOut>} */
    const page = await get(`/collections?limit=1000${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    found.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  collections.value = found;
}

/** The one that is asked: the address names it, else it is `default`, or the first where there is no such one. */
export const collection = computed(
  () => params.value.get("collection") ?? (collections.value?.some((each) => each.name === "default") === false ? collections.value[0]?.name : null) ?? "default",
);

/** Whether it is not there; `default` is made with the first document of all. */
export const missing = computed(() => {
  const known = collections.value ?? [];
  return known.length > 0 && !known.some((each) => each.name === collection.value);
});

export const DEFAULTS = { mode: "hybrid", k: 8 };
/** How questions are asked, as the request body has it. */
export const options = computed(() => {
  const found = params.value;
  /** @type {Page.Asked} */
  const made = { mode: found.get("mode") ?? DEFAULTS.mode, k: bounded(found.get("k"), 1, 100) ?? DEFAULTS.k };
  const rerank = found.get("rerank");
  if (rerank === "1" || rerank === "0") made.rerank = rerank === "1";
  const least = bounded(found.get("min_score"), 0, 1);
  if (least !== null) made.min_score = least;
  const filters = filtersOf(found.get("filters"));
  if (filters.length) made.filters = { filters: filters.map(({ key, operator, value }) => ({ key, operator: /** @type {Api.Filter["operator"]} */ (operator), value: valueOf(value) })), condition: "and" };
  return made;
});
/** Whether what is asked is kept as a conversation. */
export const remembers = computed(() => params.value.get("keep") !== "0");

/** @param {string | null} text @param {number} least @param {number} most */
function bounded(text, least, most) {
  const value = Number.parseFloat(text ?? "");
  return Number.isFinite(value) ? Math.min(most, Math.max(least, value)) : null;
}

/** Read the filters of the address. @param {string | null} text @returns {{key: string, operator: string, value: string}[]} */
export function filtersOf(text) {
  try {
    const found = JSON.parse(text ?? "[]");
    return found.filter((/** @type {unknown} */ each) => Array.isArray(each) && each.length === 3).map((/** @type {unknown[]} */ [key, operator, value]) => ({ key: String(key), operator: String(operator), value: String(value) }));
  } catch {
    return [];
  }
}

/** A filter's value: JSON where it is that (`2024`, `true`, `["a"]`), else text. @param {string} text */
function valueOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** What is said at the page's lower edge for a while. */
export const toasts = signal(/** @type {{id: number, text: string, action?: string, run?: () => void}[]} */ ([]));
/** Read out by screen readers, once. */
export const said = signal("");
let latest = 0;

/** @param {string} text @param {{action?: string, run?: () => void, ms?: number}} more @returns {() => void} takes it away */
export function toast(text, { action, run, ms = 4000 } = {}) {
  const id = ++latest;
  const away = () => (toasts.value = toasts.value.filter((each) => each.id !== id));
  toasts.value = [...toasts.value, { id, text, action, run: run && (() => (away(), run())) }];
  setTimeout(away, ms);
  return away;
}

const THEME = "footnote.theme";
/** @type {Page.Theme[]} */
const THEMES = ["auto", "light", "dark"];
/** `light`, `dark`, or `auto`: as the system has it. */
export const theme = signal(/** @type {Page.Theme} */ (THEMES.find((each) => each === localStorage.getItem(THEME)) ?? "auto"));
effect(() => {
  document.documentElement.dataset.theme = theme.value;
  localStorage.setItem(THEME, theme.value);
});
