// API keys: listed, made, rotated, revoked. A key's text is shown once, when it is made, and kept nowhere.
import { Problem, query, send } from "./api.js";
import { t, when } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, useEffect, useRef, useState } from "./lib.js";
import { Confirm, Dialog, Trouble, Waiting, unturned, usePages, useProblem } from "./parts.js";
import { may, me, toast } from "./state.js";

const PAGE = 100;
const HOUR = 3600;

/** @typedef {{deed: "make"} | {deed: "rotate" | "revoke", key: Api.KeyOut} | {deed: "show", key: Api.MadeKeyOut}} Now */

export function Keys() {
  const { items, cursor, problem, load } = /** @type {Page.Pages<Api.KeyOut>} */ (usePages((after) => `/keys${query({ limit: PAGE, cursor: after })}`, []));
  const [all, setAll] = useState(false);
  const [now, setNow] = useState(/** @type {Now | null} */ (null)); // what is being done
  const made = async (/** @type {Promise<Response>} */ request) => {
    /** @type {Api.MadeKeyOut} */
    const told = await (await request).json();
    await load();
    setNow({ deed: "show", key: told });
  };
  // what was made takes the place of the dialog that made it
  const close = () => setNow((known) => (known?.deed === "show" ? known : null));
  const revoke = async (/** @type {Api.KeyOut} */ key) => {
    await send("DELETE", `/keys/${key.id}`);
    toast(t.keyRevoked(key.name));
    await load();
    setNow(null);
  };
  const shown = items?.filter((each) => all || standing(each) !== "revoked");
  return html`<section class="stack" aria-labelledby="keys">
    <div class="heading-row"><h2 id="keys">${t.keys}</h2><button class="button primary" onClick=${() => setNow({ deed: "make" })}><${Icon} name="plus" />${t.newKey}</button></div>
    <label class="check inline"><input type="checkbox" checked=${all} onChange=${(event) => setAll(event.currentTarget.checked)} /><span>${t.showRevoked}</span></label>
    ${problem && html`<${Trouble} problem=${problem} retry=${() => load()} />`}
    ${items === null && !problem && html`<${Waiting} />`}
    ${shown?.length === 0 && html`<p class="note">${t.noKeys}</p>`}
    ${shown && shown.length > 0 && html`<ul class="cards wide-cards">${shown.map((each) => html`<${Key} key=${each.id} own=${each} onDo=${(/** @type {"rotate" | "revoke"} */ deed) => setNow({ deed, key: each })} />`)}</ul>`}
    ${cursor && html`<button class="button" onClick=${() => load(cursor)}>${t.more}</button>`}
    ${now?.deed === "make" && html`<${Make} onMade=${made} onClose=${close} />`}
    ${now?.deed === "rotate" && html`<${Rotate} own=${now.key} onMade=${made} onClose=${close} />`}
    ${now?.deed === "revoke" && html`<${Confirm} title=${t.revokeKey(unturned(now.key.name))} action=${t.revoke} danger run=${() => revoke(now.key)} onClose=${() => setNow(null)}>
      <p>${now.key.id === me.value?.key_id ? t.revokeOwn : t.revokeMore}</p>
    <//>`}
    ${now?.deed === "show" && html`<${Secret} made=${now.key} onClose=${() => setNow(null)} />`}
  </section>`;
}

/** @param {Api.KeyOut} key @returns {"active" | "expired" | "revoked"} */
const standing = (key) => (key.revoked_at ? "revoked" : key.expires_at && new Date(key.expires_at) <= new Date() ? "expired" : "active");

/** @param {{own: Api.KeyOut, onDo: (deed: "rotate" | "revoke") => void}} props */
function Key({ own, onDo }) {
  const state = standing(own);
  const name = unturned(own.name);
  return html`<li class=${`card key is-${state}`}>
    <header>
      <h3 dir="auto">${name}</h3>
      <span class=${`badge ${state === "active" ? "good" : "bad"}`}>${t.keyState[state]}</span>
      ${own.id === me.value?.key_id && html`<span class="badge">${t.yourKey}</span>`}
      <span class="space"></span>
      ${state === "active" && html`<button class="button" aria-label=${`${t.rotate}: ${name}`} onClick=${() => onDo("rotate")}>${t.rotate}</button>`}
      ${state !== "revoked" && html`<button class="button" aria-label=${`${t.revoke}: ${name}`} onClick=${() => onDo("revoke")}>${t.revoke}</button>`}
    </header>
    <dl class="facts">
      <dt>${t.keyId}</dt><dd><code>fn_${own.id}_…</code></dd>
      <dt>${t.subject}</dt><dd dir="auto">${unturned(own.subject)}${own.groups.length > 0 && html` <span class="quiet">${t.inGroups(own.groups.map(unturned).join(", "))}</span>`}</dd>
      <dt>${t.scopes}</dt><dd><ul class="badges">${own.scopes.map((each) => html`<li class="badge">${each}</li>`)}</ul></dd>
      ${own.collections && html`<dt>${t.collections}</dt><dd dir="auto">${own.collections.join(", ")}</dd>`}
      <dt>${t.madeAt}</dt><dd>${when(own.created_at)}${own.rotated_at ? ` · ${t.rotatedAt(when(own.rotated_at))}` : ""}</dd>
      <dt>${t.lastUsed}</dt><dd>${own.last_used_at ? when(own.last_used_at) : t.never}</dd>
      ${own.expires_at && html`<dt>${t.expires}</dt><dd>${when(own.expires_at)}</dd>`}
      ${own.previous_until && new Date(own.previous_until) > new Date() && html`<dt>${t.earlierSecret}</dt><dd>${t.goodUntil(when(own.previous_until))}</dd>`}
    </dl>
  </li>`;
}

/** Lines of a text that are not empty. @param {string} text */
const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

/** @param {{onMade: (request: Promise<Response>) => Promise<void>, onClose: () => void}} props */
function Make({ onMade, onClose }) {
  const [problem, setProblem] = useProblem();
  const [busy, setBusy] = useState(false);
  const first = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => first.current?.focus(), []);
  const submit = async (/** @type {Page.On<HTMLFormElement>} */ event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (/** @type {string} */ name) => String(form.get(name) ?? "").trim();
    const scopes = /** @type {Api.KeyBody["scopes"]} */ (form.getAll("scope").map(String));
    /** @type {Api.KeyBody} */
    const body = { name: text("name"), scopes };
    if (text("subject")) body.subject = text("subject");
    if (lines(text("groups")).length) body.groups = lines(text("groups"));
    if (lines(text("collections")).length) body.collections = lines(text("collections"));
    if (text("expires")) body.expires_at = new Date(text("expires")).toISOString();
    if (scopes.length === 0) return setProblem(new Problem({ title: t.noScope }));
    setBusy(true);
    setProblem(null);
    try {
      await onMade(send("POST", "/keys", { json: body }));
    } catch (error) {
      setProblem(error);
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${t.newKey} onClose=${onClose}>
    <form class="stack" onSubmit=${submit}>
      <label>${t.keyName}<input name="name" ref=${first} required maxlength="255" autocomplete="off" /></label>
      <fieldset class="scopes"><legend>${t.scopes}</legend>
        ${Object.entries(t.scope).map(([scope, what]) => may(scope) && html`<label class="check"><input type="checkbox" name="scope" value=${scope} /><span><code>${scope}</code><small>${what}</small></span></label>`)}
      </fieldset>
      <label>${t.subject}<input name="subject" maxlength="255" placeholder=${me.value?.subject} autocomplete="off" spellcheck="false" /><small>${t.subjectHelp}</small></label>
      <label>${t.expires}<input type="datetime-local" name="expires" /><small>${t.expiresHelp}</small></label>
      <details class="more-options"><summary>${t.moreOptions}</summary><div class="stack">
        <label>${t.groups}<textarea name="groups" rows="2" spellcheck="false"></textarea><small>${t.aLine}</small></label>
        <label>${t.collections}<textarea name="collections" rows="2" spellcheck="false"></textarea><small>${t.keyCollectionsHelp}</small></label>
      </div></details>
      ${problem && html`<${Trouble} problem=${problem} />`}
      <p class="row"><button class="button primary" disabled=${busy}>${t.make}</button><button class="button" type="button" onClick=${onClose}>${t.cancel}</button></p>
    </form>
  <//>`;
}

/** @param {{own: Api.KeyOut, onMade: (request: Promise<Response>) => Promise<void>, onClose: () => void}} props */
function Rotate({ own, onMade, onClose }) {
  const [overlap, setOverlap] = useState(HOUR);
  const run = () => onMade(send("POST", `/keys/${own.id}/rotate`, { json: { overlap_seconds: overlap } }));
  return html`<${Confirm} title=${t.rotateKey(unturned(own.name))} action=${t.rotate} run=${run} onClose=${onClose}>
    <p>${t.rotateMore}</p>
    <label>${t.overlap}<select value=${String(overlap)} onChange=${(event) => setOverlap(Number(event.currentTarget.value))}>
      ${Object.entries(t.overlaps).map(([seconds, name]) => html`<option value=${seconds} selected=${Number(seconds) === overlap}>${name}</option>`)}
    </select></label>
  <//>`;
}

/** @param {{made: Api.MadeKeyOut, onClose: () => void}} props */
function Secret({ made, onClose }) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(made.key);
      toast(t.copied);
    } catch {
      toast(t.notCopied);
    }
  };
  return html`<${Dialog} title=${t.keyMade(unturned(made.name))} onClose=${onClose}>
    <div class="stack">
      <p>${t.keyOnce}</p>
      <p class="secret"><code>${made.key}</code></p>
      <p class="row"><button class="button primary" onClick=${copy}><${Icon} name="copy" />${t.copyKey}</button><button class="button" onClick=${onClose}>${t.done}</button></p>
    </div>
  <//>`;
}
