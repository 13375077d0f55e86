// Signing in: with the identity provider, where the server has one, or with an API key; and out again.
import { get, key, refused, send, setKey } from "./api.js";
import { t } from "./i18n.js";
import { html, signal, useEffect, useState } from "./lib.js";
import { go, params } from "./state.js";

const BACK = "footnote.back";

/** How one signs in here, and whether this browser has with the identity provider. */
export const session = signal({ login: false, signed_in: false });

/** Ask the server how one signs in; come back to where one was before. */
export async function loadSession() {
  try {
    session.value = await get("/session");
  } catch {
    return; // one can paste a key
  }
  const back = sessionStorage.getItem(BACK);
  sessionStorage.removeItem(BACK);
  if (back && session.value.signed_in && params.value.get("login") === null) {
    history.replaceState(null, "", `#${back.replace(/^#/, "")}`);
    dispatchEvent(new HashChangeEvent("hashchange"));
  }
}

/** End the session; tell whether the browser leaves the page for it. */
export async function leave() {
  try {
    /** @type {{url: string | null}} */
    const { url } = await (await send("POST", "/logout")).json();
    session.value = { ...session.value, signed_in: false };
    if (url) location.assign(url);
    return Boolean(url);
  } catch {
    return false;
  }
}

/** @param {{arrive: () => Promise<void>}} props */
export function SignIn({ arrive }) {
  const [wrong, setWrong] = useState(key.value !== null);
  const [failed] = useState(params.value.get("login") === "failed");
  useEffect(() => {
    if (failed) go({ set: { login: null } });
  }, []);
  const submit = async (/** @type {Page.On<HTMLFormElement>} */ event) => {
    event.preventDefault();
    const given = String(new FormData(event.currentTarget).get("key") ?? "").trim();
    if (!given) return;
    setKey(given);
    await arrive();
    if (refused.value) {
      setKey(null);
      setWrong(true);
    }
  };
  const login = session.value.login;
  return html`<main id="content" class="sign-in">
    <form onSubmit=${submit}>
      <h1 class="brand">Footnote<sup aria-hidden="true">1</sup></h1>
      ${failed && html`<p class="wrong" role="alert">${t.signInFailed}</p>`}
      ${login && html`<a class="button primary" href="/login" onClick=${() => sessionStorage.setItem(BACK, location.hash)}>${t.signInWithProvider}</a>
        <p class="or"><span>${t.or}</span></p>`}
      <p>${t.signInWhy}</p>
      <label>${t.apiKey}<input name="key" type="password" autocomplete="off" spellcheck="false" required autofocus=${!login} placeholder="fn_…" aria-invalid=${wrong} aria-describedby=${wrong ? "wrong" : null} /></label>
      ${wrong && html`<p class="wrong" id="wrong" role="alert">${t.wrongKey}</p>`}
      <button class=${`button ${login ? "" : "primary"}`}>${login ? t.signInWithKey : t.signIn}</button>
    </form>
  </main>`;
}
