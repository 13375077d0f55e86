// Calls of the server: JSON, problems, streams. The API key, where one is needed, stays in this tab's session storage.
import { signal } from "./lib.js";

const KEY = "footnote.key";

/** The API key; null where none was given. */
export const key = signal(sessionStorage.getItem(KEY));
/** Whether the server has refused what we are: the page then asks for a key. */
export const refused = signal(false);

/** @param {string | null} value */
export function setKey(value) {
  if (value === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, value);
  key.value = value;
}

/** A request that was not answered as hoped: the server's problem document (RFC 9457), or that there was no answer. */
export class Problem extends Error {
  /** @param {Page.Told} told @param {number | null} retryAfter seconds */
  constructor(told, retryAfter = null) {
    super(told.detail ?? told.title ?? "");
    this.status = told.status ?? 0;
    this.slug = (told.type ?? "").split("/").pop() ?? "";
    this.title = told.title ?? "";
    this.detail = told.detail ?? "";
    this.requestId = told.request_id ?? null;
    this.errors = told.errors ?? [];
    this.retryAfter = retryAfter;
    /** All of its members, for those that only some problems have. */
    this.told = told;
  }
}

/** Whatever was thrown, as a problem. @param {unknown} thrown */
export const asProblem = (thrown) => (thrown instanceof Problem ? thrown : new Problem({ detail: String(thrown) }));

export const UNREACHABLE = "unreachable";

/**
 * Send a request; resolve to the response where it succeeded.
 * @param {string} method @param {string} path
 * @param {{json?: unknown, form?: FormData, text?: string, headers?: Record<string, string>, signal?: AbortSignal}} options
 * @throws {Problem}
 */
export async function send(method, path, { json, form, text, headers = {}, signal: abort } = {}) {
  /** @type {Record<string, string>} */
  const all = { "X-Footnote-Request": "page", ...headers }; // the server believes the cookie of a session with it alone
  if (key.value) all["Authorization"] = `Bearer ${key.value}`;
  if (json !== undefined) all["Content-Type"] = "application/json";
  const body = form ?? text ?? (json === undefined ? undefined : JSON.stringify(json));
  let response;
  try {
    response = await fetch(path, { method, headers: all, body, signal: abort });
  } catch (error) {
    if (abort?.aborted) throw error;
    throw new Problem({ type: UNREACHABLE });
  }
  if (response.ok) return response;
  const problem = await problemOf(response);
  if (problem.status === 401) refused.value = true;
  throw problem;
}

/** @param {Response} response */
async function problemOf(response) {
  const after = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  /** @type {Page.Told} */
  let told = {};
  try {
    told = await response.json();
  } catch {
    // a proxy's page, say
  }
  return new Problem({ title: response.statusText, ...told, status: response.status }, Number.isFinite(after) ? after : null);
}

/** @param {string} path @param {{signal?: AbortSignal}} options @returns {Promise<any>} */
export const get = async (path, options = {}) => (await send("GET", path, options)).json();

/** Write a query string, without what is null.
 *  @param {Record<string, unknown>} values */
export function query(values) {
  const set = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString();
  return text && `?${text}`;
}

const TRIES = 5;

/**
 * Follow server-sent events to their end. A stream that drops is taken up again where it has an address.
 * @param {() => Promise<Response>} open
 * @param {{signal: AbortSignal, resume?: (last: string | null, response: Response | null) => Promise<Response> | null,
 *          onEvent: (name: string, data: any) => void, onDropped?: () => void}} options
 */
export async function follow(open, { signal: abort, resume, onEvent, onDropped }) {
  /** @type {string | null} */
  let last = null;
  let ended = false;
  let tries = 0;
  /** @type {Response | null} */
  let first = null;
  let response = await open();
  for (;;) {
    first ??= response;
    try {
      for await (const event of events(response)) {
        tries = 0;
        if (event.id !== null) last = event.id;
        if (event.data === "[DONE]") return;
        ended ||= event.name === "done" || event.name === "error";
        onEvent(event.name, JSON.parse(event.data));
      }
    } catch (error) {
      if (abort.aborted || error instanceof SyntaxError) throw error;
    }
    if (ended) return;
    for (;;) {
      if (abort.aborted) throw new DOMException("", "AbortError");
      if (!resume || ++tries > TRIES) throw new Problem({ type: UNREACHABLE });
      onDropped?.();
      await new Promise((resolve) => setTimeout(resolve, 300 * tries ** 2));
      try {
        const again = await resume(last, first);
        if (again === null) throw new Problem({ type: UNREACHABLE });
        if (again.status === 204) return;
        response = again;
        break;
      } catch (error) {
        if (!(error instanceof Problem) || error.slug !== UNREACHABLE) throw error;
      }
    }
  }
}

/** @param {Response} response */
async function* events(response) {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = { id: /** @type {string | null} */ (null), name: "message", data: "" };
        for (const line of block.split("\n")) {
          if (line.startsWith("id: ")) event.id = line.slice(4);
          else if (line.startsWith("event: ")) event.name = line.slice(7);
          else if (line.startsWith("data: ")) event.data += line.slice(6);
        }
        if (event.data) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
