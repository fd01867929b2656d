import { Client } from "./client.js";

const { issuer, api, key } = document.body.dataset;
const client = new Client({ issuer, key });
const shown = document.querySelector("output");

async function call() {
  try {
    const answer = await client.fetch(api);
    shown.value = `${answer.status} ${await answer.text()}`;
  } catch (cause) {
    shown.value = `failed: ${cause.message}`;
  }
}

document.querySelector("button").addEventListener("click", call);
call();
