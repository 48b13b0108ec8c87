// A real OpenID Connect provider (npm: oidc-provider) for tests: node provider.mjs SETTINGS.json
//
// SETTINGS: { modules, port, cert, key, clientId, clientSecret, redirectUris, postLogoutRedirectUris, accounts }
//   modules    the folder node_modules that has oidc-provider and jose
//   accounts   { name: { groups: [...] } }: whoever is there may log in with any password but "wrong"
// It prints "ready" once it listens. POST /test with JSON changes what it does from then on:
//   accounts   in place of those before; who is not there any more is nobody, also for tokens that were given out
//   idToken    whether claims are in the ID token (true) or at userinfo only (false, the default)
//   rotate     true: new signing key, and the old one gone
//   trick      how the next ID tokens are spoilt: see tricks below; null: not at all
// POST /sign with { claims, header } answers with a token that is signed with its key.
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { default: Provider } = await import(join(settings.modules, 'oidc-provider/lib/index.js'));
const jose = await import(join(settings.modules, 'jose/dist/webapi/index.js'));

const issuer = `https://localhost:${settings.port}`;
const state = { accounts: settings.accounts, idToken: false, trick: null, keys: [] };
let provider, answer;

async function newKey() {
  const { privateKey } = await jose.generateKeyPair('RS256', { extractable: true });
  const jwk = await jose.exportJWK(privateKey);
  return { ...jwk, kid: `key-${Date.now()}-${state.keys.length}`, use: 'sig', alg: 'RS256' };
}

// A new one with the present state. Sessions and tokens are in a store that all instances share.
function start() {
  provider = new Provider(issuer, {
    jwks: { keys: state.keys },
    clients: [{
      client_id: settings.clientId,
      client_secret: settings.clientSecret,
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
      response_types: ['code'],
      redirect_uris: settings.redirectUris,
      post_logout_redirect_uris: settings.postLogoutRedirectUris,
      backchannel_logout_uri: settings.backchannelLogoutUri,
      backchannel_logout_session_required: true,
    }],
    claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
    conformIdTokenClaims: !state.idToken,
    cookies: { keys: ['test'] },
    features: {
      backchannelLogout: { enabled: true },
      devInteractions: { enabled: false },
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
    },
    // Its own one calls no address of this machine, where the gateway is.
    fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
    pkce: { required: () => true },
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    issueRefreshToken: () => true,
    // Everybody has agreed to everything: these tests are about logins.
    async loadExistingGrant(ctx) {
      const { client, session, params } = ctx.oidc;
      const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope(params.scope ?? 'openid profile');
      await grant.save();
      return grant;
    },
    findAccount(ctx, id) {
      const account = state.accounts[id];
      if (!account) return undefined;
      return { accountId: id, claims: () => ({ sub: id, preferred_username: account.name ?? id, groups: account.groups }) };
    },
  });
  provider.on('backchannel.error', (ctx, error) => console.error('back-channel logout', error));
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.oidc?.route === 'token' && ctx.body?.id_token && state.trick) {
      ctx.body.id_token = await tricks[state.trick](ctx.body.id_token);
    }
  });
  answer = provider.callback();
}

// What an attacker, or a provider with a fault, could send instead.
const now = () => Math.floor(Date.now() / 1000);
async function resign(token, change = {}, header = {}) {
  const key = await jose.importJWK(state.keys[0], 'RS256');
  const claims = { ...jose.decodeJwt(token), ...change };
  return new jose.SignJWT(claims).setProtectedHeader({ ...jose.decodeProtectedHeader(token), ...header }).sign(key);
}
function unsigned(token, header) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${encode({ ...jose.decodeProtectedHeader(token), ...header })}.${token.split('.')[1]}`;
}
const tricks = {
  signature: (token) => token.slice(0, -8) + (token.endsWith('AAAAAAAA') ? 'BBBBBBBB' : 'AAAAAAAA'),
  claims: (token) => {
    const [head, , signature] = token.split('.');
    const claims = Buffer.from(JSON.stringify({ ...jose.decodeJwt(token), sub: 'admin' })).toString('base64url');
    return `${head}.${claims}.${signature}`;
  },
  audience: (token) => resign(token, { aud: 'another-client' }),
  azp: (token) => resign(token, { aud: [settings.clientId, 'another-client'], azp: 'another-client' }),
  issuer: (token) => resign(token, { iss: 'https://evil.example' }),
  nonce: (token) => resign(token, { nonce: 'another-login' }),
  expired: (token) => resign(token, { iat: now() - 7200, exp: now() - 3600 }),
  early: (token) => resign(token, { iat: now() + 3600, exp: now() + 7200 }),
  none: (token) => `${unsigned(token, { alg: 'none' })}.`,
  hmac: (token) => {
    const text = unsigned(token, { alg: 'HS256' });
    return `${text}.${createHmac('sha256', settings.clientSecret).update(text).digest('base64url')}`;
  },
  kid: (token) => resign(token, {}, { kid: 'nobody-has-it' }),
  garbage: () => 'not.a.token',
};

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

async function control(request, response) {
  const order = JSON.parse(await body(request));
  if (order.rotate) state.keys = [await newKey()];
  for (const name of ['accounts', 'idToken', 'trick']) if (name in order) state[name] = order[name];
  if (order.rotate || 'idToken' in order) start();
  response.writeHead(204).end();
}

async function sign(request, response) {
  const { claims, header } = JSON.parse(await body(request));
  const key = await jose.importJWK(state.keys[0], 'RS256');
  const token = await new jose.SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid: state.keys[0].kid, ...header }).sign(key);
  response.writeHead(200, { 'content-type': 'text/plain' }).end(token);
}

// The page to log in at: a form with name and password.
async function interaction(request, response) {
  const details = await provider.interactionDetails(request, response);
  if (request.method === 'GET') {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end(`<form method="post" action="/interaction/${details.uid}"><input name="login"><input name="password" type="password"></form>`);
    return;
  }
  const form = new URLSearchParams(await body(request));
  const login = form.get('login');
  const result = state.accounts[login] && form.get('password') !== 'wrong'
    ? { login: { accountId: login } }
    : { error: 'access_denied', error_description: 'wrong name or password' };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

state.keys = [await newKey()];
start();
const options = { cert: readFileSync(settings.cert), key: readFileSync(settings.key) };
createServer(options, (request, response) => {
  const fail = (error) => { console.error(error); response.writeHead(500).end(String(error)); };
  if (request.url === '/test') control(request, response).catch(fail);
  else if (request.url === '/sign') sign(request, response).catch(fail);
  else if (request.url.startsWith('/interaction/')) interaction(request, response).catch(fail);
  else answer(request, response);
}).listen(settings.port, '127.0.0.1', () => console.log('ready'));
