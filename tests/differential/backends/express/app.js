// The protected handlers as an Express user writes them: `node app.js PORT`.
"use strict";
const express = require("express");

const app = express();

function handler(name) {
  return (request, response) =>
    response
      .set("x-handler", name)
      .set("x-value", encodeURIComponent(request.params.model || ""))
      .send("");
}

function onHost(host, name) {
  return (request, response, next) =>
    request.hostname === host ? handler(name)(request, response) : next();
}

app.get("/public/:name", handler("public"));
app.get("/v1/models/:model\\:public", handler("public_model"));
app.post("/v1/models/:model\\:generate", handler("generate"));
app.get("/v1/models/:model", handler("model"));
app.delete("/v1/models/:model", handler("delete"));
app.all(["/admin", "/admin/*rest"], handler("admin"));
app.get(["/files", "/files/*rest"], handler("files"));
app.get("/reports/:year-:month", handler("reports"));
app.all("/tenant/:name", onHost("api.example.com", "tenant"));
app.get("/caf%C3%A9/:id", handler("cafe"));
app.get("/plain%20text", handler("plain"));
app.use((request, response) => response.status(404).send(""));

app.listen(Number(process.argv[2]), "127.0.0.1");
