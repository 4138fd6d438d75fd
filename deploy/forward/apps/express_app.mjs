// An Express application whose users Latchkey has logged in.
//
//     npm install express jose
//     node express_app.mjs
//
// Only the reverse proxy may reach the port: every other client could send the headers itself.

import express from "express";
import { createRemoteJWKSet, jwtVerify } from "jose";

const issuer = process.env.LATCHKEY_URL ?? "https://example.com"; // BASE_URL of Latchkey
const audience = process.env.AUDIENCE ?? issuer; // this origin if RETURN_TO lists it, else the issuer
const keys = createRemoteJWKSet(
  new URL(process.env.LATCHKEY_KEYS ?? `${issuer}/accounts/.well-known/jwks.json`),
);

const app = express();

// Sets `request.user` to the user whom the proxy has verified.
function requireUser(request, response, next) {
  const id = request.get("Remote-User");
  if (!id) return response.sendStatus(401);
  request.user = {
    id,
    name: decodeURIComponent(request.get("Remote-Name") ?? ""),
    email: decodeURIComponent(request.get("Remote-Email") ?? "") || null,
    role: request.get("Remote-Role"),
    groups: (request.get("Remote-Groups") ?? "").split(",").map(decodeURIComponent),
  };
  next();
}

// Sets `request.claims` to the claims of the signed token. No proxy needs to be trusted for them.
async function requireToken(request, response, next) {
  try {
    const options = { issuer, audience, algorithms: ["EdDSA"], clockTolerance: 30 };
    const { payload } = await jwtVerify(request.get("Remote-Token") ?? "", keys, options);
    request.claims = payload;
  } catch {
    return response.sendStatus(401);
  }
  next();
}

app.all("/app/", requireUser, (request, response) => response.json(request.user));
app.get("/app/admin/", requireUser, (request, response) => response.json(request.user));
app.get("/app/token", requireToken, (request, response) => response.json(request.claims));
app.get("/app/public/", (request, response) =>
  response.json({ id: request.get("Remote-User") ?? null, cookie: request.get("Cookie") ?? null }),
);

app.listen(Number(process.env.PORT ?? 9000), "127.0.0.1");
