// An OpenID provider on loopback for the browser test, with its own pages for login and consent and with refresh tokens that
// are rotated. Whatever name is typed in is a user. Not for anything but tests.
//
//   PROVIDER_MODULES=node_modules PROVIDER_SECRET=... node provider.mjs REDIRECT_URI POST_LOGOUT_URI
//
// It prints its issuer in one line once it listens, then each refresh token that it gives out: the test plays the thief.

import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const modules = process.env.PROVIDER_MODULES;
const { default: Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`).href);
const [redirectUri, postLogoutUri] = process.argv.slice(2);

const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'app',
      client_secret: process.env.PROVIDER_SECRET,
      redirect_uris: [redirectUri],
      post_logout_redirect_uris: [postLogoutUri],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
    },
  ],
  cookies: { keys: ['a key of tests'] },
  claims: { openid: ['sub'], profile: ['name'] },
  conformIdTokenClaims: false,
  features: { devInteractions: { enabled: true }, revocation: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, name: `Name of ${id}` }) }),
  issueRefreshToken: () => true,
  pkce: { required: () => true },
  rotateRefreshToken: true,
  scopes: ['openid', 'profile'],
  ttl: { AccessToken: 3600, RefreshToken: 86400, IdToken: 3600, Session: 86400, Grant: 86400, Interaction: 600 },
});
provider.on('grant.success', (context) => console.log(`refresh ${context.body.refresh_token}`));
server.on('request', provider.callback());
console.log(issuer);
