// Runs the OpenID Connect provider of npm on 127.0.0.1, with its own pages to log in and to consent.
// OIDC_SETTINGS is JSON: `port`, the client's `clientId`, `clientSecret`, `redirectUri` and, for
// back-channel logout, `logoutUri`; `users` has the claims of each user by the name to log in with.
// With `claimsInIdToken`, these claims are in the ID token, otherwise only at the userinfo endpoint.
import { Provider } from "oidc-provider";

const settings = JSON.parse(process.env.OIDC_SETTINGS);

const provider = new Provider(`http://127.0.0.1:${settings.port}`, {
  clients: [
    {
      client_id: settings.clientId,
      client_secret: settings.clientSecret,
      redirect_uris: [settings.redirectUri],
      ...(settings.logoutUri && {
        backchannel_logout_uri: settings.logoutUri,
        backchannel_logout_session_required: true,
      }),
    },
  ],
  claims: {
    openid: ["sub"],
    email: ["email", "email_verified"],
    profile: ["name"],
    groups: ["groups"],
  },
  scopes: ["openid", "email", "profile", "groups"],
  conformIdTokenClaims: !settings.claimsInIdToken,
  features: { backchannelLogout: { enabled: true } },
  // By default the provider sends no logout token to this machine.
  fetch: (url, options) => fetch(url, { ...options, dispatcher: undefined }),
  pkce: { required: () => true },
  cookies: { keys: ["the key of a test"] },
  ttl: { Session: 3600, Interaction: 600, Grant: 3600, IdToken: 300, AccessToken: 300 },
  findAccount: (_, name) =>
    settings.users[name] && {
      accountId: name,
      claims: async () => ({ sub: name, ...settings.users[name] }),
    },
});

provider.listen(settings.port, "127.0.0.1", () => console.log("ready"));
