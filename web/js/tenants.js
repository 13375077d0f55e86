// Tenants: listed, made, suspended, resumed, deleted.
import { query, send } from "./api.js";
import { count, t, when } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, useRef, useState } from "./lib.js";
import { Confirm, Trouble, Waiting, usePages, useProblem } from "./parts.js";
import { me, said, toast } from "./state.js";

const PAGE = 100;

export function Tenants() {
  const { items, cursor, problem, setProblem, load } = /** @type {Page.Pages<Api.TenantOut>} */ (usePages((after) => `/tenants${query({ limit: PAGE, cursor: after })}`, []));
  const [now, setNow] = useState(/** @type {{deed: "suspend" | "delete", tenant: Api.TenantOut} | null} */ (null)); // what is being done
  const mark = async (/** @type {Api.TenantOut} */ tenant, /** @type {"suspend" | "resume"} */ deed) => {
    await send("POST", `/tenants/${encodeURIComponent(tenant.id)}/${deed}`);
    said.value = deed === "suspend" ? t.tenantSuspended(tenant.id) : t.tenantResumed(tenant.id);
    await load();
  };
  const remove = async (/** @type {Api.TenantOut} */ tenant) => {
    await send("DELETE", `/tenants/${encodeURIComponent(tenant.id)}`);
    toast(t.deleted(tenant.id));
    await load();
  };
  const resume = (/** @type {Api.TenantOut} */ tenant) => mark(tenant, "resume").catch(setProblem);
  return html`<section class="stack" aria-labelledby="tenants">
    <h2 id="tenants">${t.tenants}</h2>
    <p class="quiet">${t.tenantsLead}</p>
    <${Make} onMade=${() => load()} />
    ${problem && html`<${Trouble} problem=${problem} retry=${() => load()} />`}
    ${items === null && !problem && html`<${Waiting} />`}
    ${items && items.length > 0 && html`<div class="table-frame"><table class="list">
      <thead><tr><th scope="col">${t.name}</th><th scope="col">${t.stateColumn}</th><th scope="col" class="figure">${t.collections}</th><th scope="col" class="figure">${t.documents}</th><th scope="col" class="figure">${t.jobs}</th><th scope="col">${t.madeAt}</th><th scope="col"><span class="hidden">${t.actions}</span></th></tr></thead>
      <tbody>${items.map((each) => html`<tr key=${each.id}>
        <th scope="row" dir="auto"><strong>${each.id}</strong>${each.id === me.value?.tenant && html` <span class="badge">${t.yourTenant}</span>`}</th>
        <td><span class=${`badge ${each.status === "active" ? "good" : "bad"}`}>${t.tenantState[each.status]}</span></td>
        <td class="figure" data-name=${t.collections}>${count(each.collections)}</td>
        <td class="figure" data-name=${t.documents}>${count(each.documents)}</td>
        <td class="figure" data-name=${t.jobs}>${count(each.jobs)}</td>
        <td class="when">${when(each.created_at)}</td>
        <td class="end">${each.id !== me.value?.tenant && html`<span class="buttons">
          ${each.status === "active" && html`<button class="button" aria-label=${`${t.suspend}: ${each.id}`} onClick=${() => setNow({ deed: "suspend", tenant: each })}>${t.suspend}</button>`}
          ${each.status === "suspended" && html`<button class="button" aria-label=${`${t.resume}: ${each.id}`} onClick=${() => resume(each)}>${t.resume}</button>`}
          <button class="icon-button" title=${t.delete} aria-label=${t.deleteNamed(each.id)} onClick=${() => setNow({ deed: "delete", tenant: each })}><${Icon} name="trash" /></button>
        </span>`}</td>
      </tr>`)}</tbody>
    </table></div>`}
    ${cursor && html`<button class="button" onClick=${() => load(cursor)}>${t.more}</button>`}
    ${now?.deed === "suspend" && html`<${Confirm} title=${t.suspendTenant(now.tenant.id)} action=${t.suspend} danger run=${() => mark(now.tenant, "suspend")} onClose=${() => setNow(null)}><p>${t.suspendMore}</p><//>`}
    ${now?.deed === "delete" && html`<${Confirm} title=${t.deleteTenant(now.tenant.id)} action=${t.delete} danger typed=${now.tenant.id} run=${() => remove(now.tenant)} onClose=${() => setNow(null)}><p>${t.deleteTenantMore(t.nDocuments(now.tenant.documents, count(now.tenant.documents)))}</p><//>`}
  </section>`;
}

/** @param {{onMade: () => void}} props */
function Make({ onMade }) {
  const [problem, setProblem] = useProblem();
  const box = useRef(/** @type {HTMLInputElement | null} */ (null));
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!box.current) return;
    const id = box.current.value.trim();
    try {
      await send("POST", "/tenants", { json: { id } });
      box.current.value = "";
      setProblem(null);
      said.value = t.tenantMade(id);
      onMade();
    } catch (error) {
      setProblem(error);
    }
  };
  return html`<form class="url" onSubmit=${submit}>
      <input ref=${box} aria-label=${t.newTenant} placeholder=${t.newTenant} required maxlength="63" pattern="[a-z0-9][a-z0-9_\\-]*" title=${t.nameHelp} autocomplete="off" autocapitalize="off" spellcheck="false" />
      <button class="button">${t.make}</button>
    </form>
    ${problem && html`<${Trouble} problem=${problem} />`}`;
}
