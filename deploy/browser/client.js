// Calls an API with short-lived tokens. The key here is publishable: everybody can read it.
// Tokens stay in memory. A page that is loaded again gets a new one.

const GRANT = "urn:ietf:params:oauth:grant-type:token-exchange";
const API_KEY = "urn:authz:params:token-type:api-key";
const EARLY = 30_000; // ms before its end at which a token is replaced

export class Client {
  #issuer;
  #key;
  #scope;
  #token = null; // a promise, so that calls at the same time share one exchange

  // issuer: the URL of the token endpoint without /v1/token. scope: with blanks, or empty for all.
  constructor({ issuer, key, scope = "" }) {
    this.#issuer = issuer;
    this.#key = key;
    this.#scope = scope;
  }

  // Calls the API like fetch(). A token that was refused is replaced once.
  async fetch(url, options = {}) {
    const answer = await this.#send(url, options);
    if (answer.status !== 401) return answer;
    this.#token = null;
    return this.#send(url, options);
  }

  async #send(url, options) {
    const headers = new Headers(options.headers);
    headers.set("authorization", `Bearer ${await this.#current()}`);
    return fetch(url, { ...options, headers, credentials: "omit" });
  }

  async #current() {
    const pending = this.#token;
    const known = pending && (await pending.catch(() => null));
    if (known && Date.now() < known.until) return known.text;
    if (this.#token === pending) this.#token = this.#exchange();
    return (await this.#token).text;
  }

  // The browser adds the Origin header. A page cannot change it.
  async #exchange() {
    const form = new URLSearchParams({
      grant_type: GRANT,
      subject_token: this.#key,
      subject_token_type: API_KEY,
    });
    if (this.#scope) form.set("scope", this.#scope);
    const began = Date.now();
    const answer = await fetch(`${this.#issuer}/v1/token`, {
      method: "POST",
      body: form,
      credentials: "omit",
    });
    const document = await answer.json();
    if (!answer.ok) throw new Error(`no token: ${document.error}`);
    return { text: document.access_token, until: began + document.expires_in * 1000 - EARLY };
  }
}
