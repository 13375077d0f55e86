// Documents of a collection that are chosen: searched for while one types, picked by keyboard or pointer, shown by title.
import { Problem, get, query } from "./api.js";
import { count, t } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, useEffect, useRef, useState } from "./lib.js";
import { may, said } from "./state.js";

const MOST = 8;
const PAUSE = 150; // ms without a key after which what was typed is searched for
/** The field's name in its form: what is typed there and not picked counts as a name, too. */
export const TYPED = "document";

/** @typedef {Pick<Api.DocumentOut, "id" | "source" | "title">} Found */

/**
 * A combobox as WAI-ARIA describes it: the focus stays in the field, arrows go through what was found, Enter picks.
 * @param {{here: string, names: string[], titles: Page.Titles, wrong: boolean, onChange: (names: string[], titles: Page.Titles) => void}} props
 *   names: of those that are chosen, each a source or an id
 */
export function DocumentPicker({ here, names, titles, wrong, onChange }) {
  const [text, setText] = useState("");
  const [found, setFound] = useState(/** @type {Found[] | null} */ (null)); // null: nothing is shown
  const [active, setActive] = useState(0);
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  const latest = useRef(0);
  const close = () => {
    latest.current++;
    setFound(null);
  };
  const search = async (/** @type {string} */ words) => {
    const mine = ++latest.current;
    try {
      /** @type {Api.PageOut<Api.DocumentOut>} */
      const page = await get(`/documents${query({ collection: here, q: words, sort: "title", limit: MOST })}`);
      if (latest.current !== mine || document.activeElement !== field.current) return;
      setFound(page.items);
      setActive(0);
      said.value = t.found(t.nDocuments(page.items.length, count(page.items.length)));
    } catch {
      if (latest.current === mine) setFound(null); // a name can be typed
    }
  };
  useEffect(() => {
    if (!text.trim() || !may("documents:read")) return close();
    const timer = setTimeout(() => search(text.trim()), PAUSE);
    return () => clearTimeout(timer);
  }, [text, here]);
  const shown = found?.length ? found[Math.min(active, found.length - 1)] : null;
  useEffect(() => document.getElementById(`document-${active}`)?.scrollIntoView({ block: "nearest" }), [active]);

  const add = (/** @type {string[]} */ more, /** @type {Page.Titles} */ known = {}) => {
    onChange([...new Set([...names, ...more])], { ...titles, ...known });
    setText("");
    close();
  };
  const pick = (/** @type {Found} */ each) => {
    // a source says more than an id, and holds in another collection; several attachments may have the same
    const name = found && found.filter((other) => other.source === each.source).length > 1 ? each.id : each.source;
    add([name], { [name]: each.title });
    said.value = t.chosen(each.title);
  };
  const remove = (/** @type {string} */ name) => {
    onChange(names.filter((other) => other !== name), titles);
    field.current?.focus();
  };
  const enter = () => {
    if (shown) pick(shown);
    else if (text.trim() && found === null && may("documents:read")) search(text.trim());
    else if (text.trim()) add([text.trim()]);
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.isComposing) return;
    if (step && found?.length) setActive((active + step + found.length) % found.length);
    else if (event.key === "ArrowDown" && may("documents:read")) search(text.trim());
    else if (event.key === "Enter" && (text.trim() || shown)) enter();
    else if (event.key === "Escape" && found) close();
    else if (event.key === "Escape" && text) setText("");
    else return;
    event.preventDefault();
  };
  const onPaste = (/** @type {ClipboardEvent} */ event) => {
    const pasted = (event.clipboardData?.getData("text/plain") ?? "").split("\n").map((each) => each.trim()).filter(Boolean);
    if (pasted.length < 2) return;
    event.preventDefault();
    add(pasted);
  };
  return html`<div class="picker">
    <label for="picker">${t.rightDocuments}</label>
    ${names.length > 0 && html`<ul class="chosen" aria-label=${t.rightDocuments}>${names.map((name) => html`<li key=${name} class=${titles[name] === null ? "is-gone" : ""} title=${name}>
      <span dir="auto">${titles[name] ?? name}</span>${titles[name] === null && html`<small>${t.notThere}</small>`}
      <button type="button" title=${t.remove} aria-label=${t.removeNamed(titles[name] ?? name)} onClick=${() => remove(name)}><${Icon} name="close" /></button>
    </li>`)}</ul>`}
    <div class="picker-field">
      <input id="picker" name=${TYPED} role="combobox" autocomplete="off" autocapitalize="off" spellcheck="false" maxlength="1000" dir="auto" aria-autocomplete="list" aria-controls="found" aria-expanded=${String(shown !== null)}
        aria-activedescendant=${shown ? `document-${active}` : null} aria-describedby="picker-help" aria-invalid=${wrong ? "true" : null} value=${text} ref=${field}
        onInput=${(event) => setText(event.currentTarget.value)} onKeyDown=${onKey} onPaste=${onPaste} onBlur=${close} />
      <ul id="found" role="listbox" aria-label=${t.rightDocuments} hidden=${!found?.length}>${found?.map((each, place) => html`<li key=${each.id} id=${`document-${place}`} role="option" aria-selected=${String(place === active)}
        onPointerDown=${(/** @type {Event} */ event) => event.preventDefault()} onClick=${() => pick(each)}><span dir="auto">${each.title}</span>${each.source !== each.title && html`<small dir="auto">${each.source}</small>`}</li>`)}</ul>
      ${found?.length === 0 && html`<p class="quiet">${t.noneFound(text.trim())}</p>`}
    </div>
    <small id="picker-help">${t.rightDocumentsHelp}</small>
  </div>`;
}

/** Look up the titles of documents by their ids; null stands for one that is not there. @param {string} here @param {string[]} ids */
export async function titlesOf(here, ids) {
  if (!may("documents:read")) return {};
  /** @type {Page.Titles} */
  const titles = {};
  await Promise.all(ids.slice(0, 20).map(async (id) => {
    try {
      /** @type {Api.DocumentOut} */
      const { title } = await get(`/documents/${encodeURIComponent(id)}${query({ collection: here })}`);
      titles[id] = title;
    } catch (error) {
      if (error instanceof Problem && error.status === 404) titles[id] = null;
    }
  }));
  return titles;
}
