// The record of who did what. The filters are in the address, so that a view of it can be kept and passed on.
import { query } from "./api.js";
import { inWords, t, whenExact } from "./i18n.js";
import { html, useRef } from "./lib.js";
import { Trouble, Waiting, unturned, usePages } from "./parts.js";
import { go, params } from "./state.js";

const PAGE = 50;
const FILTERS = ["action", "subject", "from", "to"];
// what an action may begin with; each is a group of the record's
const GROUPS = ["key.", "tenant.", "limits.", "collection.", "generation.", "document.", "readers.", "access.", "login.", "audit."];

/** A time of a form's, which is this browser's, as the server reads it. @param {string | null} local */
function moment(local) {
  const read = local ? new Date(local) : null;
  return read && !Number.isNaN(read.getTime()) ? read.toISOString() : null;
}

export function Audit() {
  const [action, subject, from, to] = FILTERS.map((name) => params.value.get(name) ?? "");
  const { items, cursor, problem, load } = /** @type {Page.Pages<Api.AuditOut>} */ (usePages(
    (after) => `/audit${query({ action, subject, from: moment(from), to: moment(to), limit: PAGE, cursor: after })}`,
    [action, subject, from, to],
  ));
  const timer = useRef(0);
  const soon = (/** @type {string} */ name) => (/** @type {Page.On} */ event) => {
    const { value } = event.currentTarget;
    clearTimeout(timer.current);
    timer.current = setTimeout(() => go({ set: { [name]: value.trim() } }), 300);
  };
  return html`<section class="stack" aria-labelledby="audit">
    <h2 id="audit">${t.audit}</h2>
    <p class="quiet">${t.auditLead}</p>
    <form class="controls" onSubmit=${(event) => event.preventDefault()}>
      <label>${t.action}<select value=${action} onChange=${(event) => go({ set: { action: event.currentTarget.value } })}><option value="">${t.any}</option>${[...GROUPS, ...(action && !GROUPS.includes(action) ? [action] : [])].map((each) => html`<option value=${each} selected=${each === action}>${inWords(t.actionGroup, each)}</option>`)}</select></label>
      <label>${t.subject}<input type="search" maxlength="1024" spellcheck="false" autocapitalize="off" defaultValue=${subject} onInput=${soon("subject")} /></label>
      <label>${t.from}<input type="datetime-local" value=${from} onChange=${(event) => go({ set: { from: event.currentTarget.value } })} /></label>
      <label>${t.until}<input type="datetime-local" value=${to} onChange=${(event) => go({ set: { to: event.currentTarget.value } })} /></label>
    </form>
    ${problem && html`<${Trouble} problem=${problem} retry=${() => load()} />`}
    ${items === null && !problem && html`<${Waiting} />`}
    ${items?.length === 0 && !problem && html`<p class="note" role="status">${t.noLines}</p>`}
    ${items && items.length > 0 && html`<ol class="audit">${items.map((each) => html`<${Line} key=${each.id} line=${each} />`)}</ol>`}
    ${cursor && html`<button class="button" onClick=${() => load(cursor)}>${t.more}</button>`}
  </section>`;
}

/** What a line is about in words, and what kind of thing that is; the record's own name where there are none.
 *  @param {Api.AuditOut} line @returns {[string, string]} */
function about({ object, object_name }) {
  const [kind, rest] = [object.slice(0, object.indexOf(":")), object.slice(object.indexOf(":") + 1)];
  if (!Object.hasOwn(t.auditKind, kind)) return [object, ""];
  const place = rest.indexOf("/");
  if (kind === "document" && place > 0) return [object_name ?? rest.slice(place + 1), t.documentOf(rest.slice(0, place))];
  if (kind === "generation" && place > 0) return [rest.slice(place + 1), t.generationOf(rest.slice(0, place))];
  return [object_name ?? rest, inWords(t.auditKind, kind)];
}

/** @param {{line: Api.AuditOut}} props */
function Line({ line }) {
  const [name, kind] = about(line);
  const facts = [
    [t.when, whenExact(line.at)],
    [t.action, line.action],
    [t.auditObject, line.object],
    [t.subject, line.actor_tenant === line.tenant ? line.subject : `${line.subject} (${line.actor_tenant})`],
    [t.keyId, line.key_name ? `${line.key_name} (${line.key})` : line.key],
    [t.client, line.client],
    [t.requestId, line.request_id],
    [t.trace, line.trace_id],
  ].filter(([, value]) => value);
  return html`<li><details>
    <summary>
      <time class="quiet" datetime=${line.at}>${whenExact(line.at)}</time>
      <span class="action" title=${line.action}>${inWords(t.auditAction, line.action)}</span>
      <span class="object" dir="auto" title=${unturned(line.object)}>${unturned(name)}${kind && html` <small>${unturned(kind)}</small>`}</span>
      <span class="who" dir="auto">${unturned(line.subject)}</span>
      ${line.outcome !== "success" && html`<span class="badge bad">${t.auditOutcome[line.outcome]}</span>`}
    </summary>
    <dl class="facts">${facts.map(([name, value]) => html`<dt>${name}</dt><dd dir="auto">${unturned(String(value))}</dd>`)}</dl>
    ${(line.before || line.after) && html`<${Change} before=${line.before ?? {}} after=${line.after ?? {}} />`}
  </details></li>`;
}

/** @param {{before: Record<string, unknown>, after: Record<string, unknown>}} props */
function Change({ before, after }) {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const said = (/** @type {Record<string, unknown>} */ state, /** @type {string} */ name) => (Object.hasOwn(state, name) ? unturned(JSON.stringify(state[name])) : t.scoreNone);
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${t.beforeAndAfter}><table class="change">
    <thead><tr><th scope="col">${t.name}</th><th scope="col">${t.gateBefore}</th><th scope="col">${t.gateAfter}</th></tr></thead>
    <tbody>${names.map((name) => html`<tr key=${name}><th scope="row" dir="auto">${unturned(name)}</th><td dir="auto"><code>${said(before, name)}</code></td><td dir="auto"><code>${said(after, name)}</code></td></tr>`)}</tbody>
  </table></div>`;
}
