// A certified OpenID provider (npm oidc-provider) as the gateway's tests need one. Usage: node server.mjs OPTIONS.json
//
// Options: port (0: any), issuer_host, keys (JWKS with private keys), state (file that outlives a restart), clients,
// ttl (seconds by kind of token). Prints its issuer when it serves. The login form takes any name and password.
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";

import Provider from "oidc-provider";

const options = JSON.parse(readFileSync(process.argv[2], "utf-8"));

let stored = {};
try {
  stored = JSON.parse(readFileSync(options.state, "utf-8"));
} catch {
  // The first start.
}

function save() {
  writeFileSync(`${options.state}.new`, JSON.stringify(stored));
  renameSync(`${options.state}.new`, options.state);
}

// What the provider knows, in one file: it goes on where it stopped when a test has killed it.
class FileAdapter {
  constructor(model) {
    this.model = model;
  }

  key(id) {
    return `${this.model}:${id}`;
  }

  async upsert(id, payload, expiresIn) {
    stored[this.key(id)] = { payload, expires: expiresIn ? Date.now() + expiresIn * 1000 : null };
    save();
  }

  async find(id) {
    const found = stored[this.key(id)];
    return found && (found.expires === null || found.expires > Date.now()) ? found.payload : undefined;
  }

  async findBy(field, value) {
    for (const [key, { payload, expires }] of Object.entries(stored)) {
      const alive = expires === null || expires > Date.now();
      if (key.startsWith(`${this.model}:`) && payload[field] === value && alive) return payload;
    }
    return undefined;
  }

  findByUserCode(code) {
    return this.findBy("userCode", code);
  }

  findByUid(uid) {
    return this.findBy("uid", uid);
  }

  async consume(id) {
    stored[this.key(id)].payload.consumed = Math.floor(Date.now() / 1000);
    save();
  }

  async destroy(id) {
    delete stored[this.key(id)];
    save();
  }

  async revokeByGrantId(grantId) {
    for (const [key, { payload }] of Object.entries(stored)) {
      if (payload.grantId === grantId) delete stored[key];
    }
    save();
  }
}

const server = createServer();
server.listen(options.port, "127.0.0.1", () => {
  const issuer = `http://${options.issuer_host ?? "127.0.0.1"}:${server.address().port}`;
  const provider = new Provider(issuer, {
    adapter: FileAdapter,
    clients: options.clients,
    jwks: options.keys,
    cookies: { keys: ["of the tests only"] },
    // One resource, whose access tokens are JWTs for `aud` api.
    features: {
      backchannelLogout: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => "urn:api",
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: "orders.read orders.write",
          audience: "api",
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: options.access_token_alg ?? "RS256" } },
        }),
      },
    },
    // Every login gets a refresh token if it asks for one, and each of these can be used once.
    issueRefreshToken: async (context, client, code) => client.grantTypeAllowed("refresh_token") && code.scopes.has("offline_access"),
    rotateRefreshToken: true,
    ttl: { AccessToken: 3600, IdToken: 3600, RefreshToken: 86400, Session: 86400, Grant: 86400, Interaction: 600, ...options.ttl },
    findAccount: async (context, id) => ({
      accountId: id,
      claims: async () => ({ sub: id, email: `${id}@example.org`, name: id, roles: id === "admin" ? ["admin"] : ["user"] }),
    }),
    claims: { openid: ["sub", "roles"], email: ["email"], profile: ["name"] },
    conformIdTokenClaims: false,
    pkce: { required: () => true, methods: ["S256"] },
    extraTokenClaims: async (context, token) => (token.accountId ? { roles: token.accountId === "admin" ? ["admin"] : ["user"] } : {}),
  });
  provider.on("server_error", (context, error) => console.error(error));
  let exchanges = 0;
  provider.on("grant.success", () => {
    exchanges += 1;
  });
  const serve = provider.callback();
  server.on("request", (request, response) => {
    if (request.url === "/test/exchanges") response.end(String(exchanges));
    else serve(request, response);
  });
  console.log(issuer);
});
