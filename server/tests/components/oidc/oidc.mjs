// A real OpenID provider for tests: signs in whoever it is told to, on loopback, until its standard input ends.
// Usage: node oidc.mjs '{"redirect": "...", "backchannel": "...", "postLogout": "...", "resource": "..."}'
import { createServer } from 'node:http';
import { createHash, generateKeyPairSync, randomUUID } from 'node:crypto';
import Provider from 'oidc-provider';

const asked = JSON.parse(process.argv[2]);
const person = { sub: 'ada', name: 'Ada', email: 'ada@example.test', roles: ['staff'] };
const keys = [newKey()];
let provider;
let callback;

function newKey() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'ES256', use: 'sig' };
}

function build(issuer) {
  const client = {
    client_id: 'guardhouse',
    client_secret: 'a secret of the test',
    redirect_uris: [asked.redirect],
    post_logout_redirect_uris: [asked.postLogout],
    id_token_signed_response_alg: 'ES256',
    ...(asked.backchannel && {
      backchannel_logout_uri: asked.backchannel,
      backchannel_logout_session_required: true,
    }),
  };
  const robot = {
    client_id: 'robot',
    client_secret: 'another secret of the test',
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    id_token_signed_response_alg: 'ES256',
  };
  provider = new Provider(issuer, {
    jwks: { keys },
    clients: [client, robot],
    claims: { openid: ['sub'], profile: ['name', 'roles'], email: ['email'] },
    conformIdTokenClaims: false,
    cookies: { keys: [createHash('sha256').update(issuer).digest('hex')] },
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_ctx, sub) => ({ accountId: sub, claims: async () => ({ ...person, sub }) }),
    extraTokenClaims: async () => ({ roles: person.roles }),
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId,
        accountId: ctx.oidc.session.accountId,
      });
      grant.addOIDCScope('openid profile email');
      await grant.save();
      return grant;
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, resource) => ({
          scope: 'events:read api',
          audience: resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 300,
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
    fetch: (url, { dispatcher, ...options }) => fetch(url, options), // its own refuses loopback
    ttl: { Session: 3600, Grant: 3600, Interaction: 600, IdToken: 600, AccessToken: 600 },
  });
  callback = provider.callback();
}

async function control(request, response) {
  let text = '';
  for await (const chunk of request) text += chunk;
  const wanted = JSON.parse(text);
  if (wanted.person) {
    for (const name of Object.keys(person)) delete person[name];
    Object.assign(person, wanted.person);
  }
  if (wanted.rotate) {
    keys.splice(0, keys.length, newKey());
    build(provider.issuer);
  }
  response.end('ok');
}

const server = createServer(async (request, response) => {
  try {
    if (request.url === '/control') {
      await control(request, response);
    } else if (request.url.startsWith('/interaction/')) {
      await provider.interactionFinished(request, response, { login: { accountId: person.sub } });
    } else {
      await callback(request, response);
    }
  } catch (error) {
    console.error(error);
    response.statusCode = 500;
    response.end(String(error));
  }
});

server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  build(issuer);
  console.log(JSON.stringify({ issuer }));
});
process.stdin.on('end', () => process.exit(0)).resume();
