// An Express application whose users Latchkey has logged in.
//
//     npm install express jose
//     node express_app.mjs
//
// Only the reverse proxy may reach the port: every other client could send the headers itself.

import express from "express";
import { createRemoteJWKSet, jwtVerify } from "jose";

const issuer = process.env.LATCHKEY_URL ?? "https://example.com/accounts"; // BASE_URL and BASE_PATH
const audience = process.env.AUDIENCE ?? "https://example.com"; // the origin of this application
// Without the proxy: http://127.0.0.1:8000/accounts/.well-known/jwks.json
const keys = createRemoteJWKSet(
  new URL(process.env.LATCHKEY_KEYS ?? `${issuer}/.well-known/jwks.json`),
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

// Express also finds this route at /app/ADMIN/, which the proxy does not restrict to administrators.
function requireAdmin(request, response, next) {
  if (request.user.role !== "admin") return response.sendStatus(403);
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
app.get("/app/admin/", requireUser, requireAdmin, (request, response) => response.json(request.user));
app.get("/app/token", requireToken, (request, response) => response.json(request.claims));
app.get("/app/public/", (request, response) =>
  response.json({ id: request.get("Remote-User") ?? null, cookie: request.get("Cookie") ?? null }),
);

app.listen(Number(process.env.PORT ?? 9000), "127.0.0.1");
