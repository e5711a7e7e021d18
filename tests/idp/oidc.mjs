// A certified OpenID provider, panva's oidc-provider: oidc.mjs PORT [FOLDER], in the folder that has node_modules.
//
// On 127.0.0.1; over TLS with server.pem and server.key of FOLDER. Its clients svc (scopes read and write) and reader
// (scope read), both with the secret "secret", get access tokens (RFC 9068) by client_credentials at /token. Other
// clients may register (RFC 7591); people log in to them with any name and password, and consent. If the last segment
// of the resource (https://api.test/PS256) is an algorithm, it signs the token, else ES256 does; if it is "opaque", the
// token is that. It talks as conversation.py says:
//
//     {"do": "rotate"}  gives kids: those of the new keys, which sign; the keys before them stay published
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createRequire } from 'node:module';
import readline from 'node:readline';

const { resolve } = createRequire(`${process.cwd()}/`);
const { default: Provider } = await import(resolve('oidc-provider'));
const { calculateJwkThumbprint } = await import(resolve('jose'));

const ALGORITHMS = [
  'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519',
];

const [port, folder] = process.argv.slice(2);
const tls = folder && { cert: readFileSync(`${folder}/server.pem`), key: readFileSync(`${folder}/server.key`) };
const issuer = `${tls ? 'https' : 'http'}://127.0.0.1:${port}`;

async function generate() {
  const keys = [
    // Without alg, one for RS256 and the others, as many providers have it.
    [generateKeyPairSync('rsa', { modulusLength: 2048 })],
    [generateKeyPairSync('ec', { namedCurve: 'P-256' }), 'ES256'],
    [generateKeyPairSync('ec', { namedCurve: 'P-384' }), 'ES384'],
    [generateKeyPairSync('ec', { namedCurve: 'P-521' }), 'ES512'],
    [generateKeyPairSync('ed25519'), 'EdDSA'],
    [generateKeyPairSync('ed25519'), 'Ed25519'],
  ].map(([pair, alg]) => ({ ...pair.privateKey.export({ format: 'jwk' }), use: 'sig', ...(alg && { alg }) }));
  return Promise.all(keys.map(async (key) => ({ ...key, kid: await calculateJwkThumbprint(key) })));
}

function provider(keys) {
  const client = {
    client_secret: 'secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
  };
  const made = new Provider(issuer, {
    jwks: { keys },
    clients: [
      { ...client, client_id: 'svc', scope: 'read write' },
      { ...client, client_id: 'reader', scope: 'read' },
    ],
    scopes: ['openid', 'offline_access', 'read', 'write'],
    // Clients register for the scopes that they know of by then. When they learn that they need more, people decide.
    extraClientMetadata: {
      properties: ['scope'],
      validator(context, _name, _value, metadata) {
        if (context) delete metadata.scope;
      },
    },
    extraTokenClaims: () => ({ roles: ['ops'] }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      registration: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo(_context, resource) {
          const name = resource.split('/').pop();
          const alg = ALGORITHMS.includes(name) ? name : 'ES256';
          const format =
            name === 'opaque' ? { accessTokenFormat: 'opaque' } : { accessTokenFormat: 'jwt', jwt: { sign: { alg } } };
          return { scope: 'read write', audience: resource, accessTokenTTL: 300, ...format };
        },
      },
    },
    ttl: { ClientCredentials: (_context, token) => token.resourceServer.accessTokenTTL },
  });
  made.on('server_error', (_context, error) => console.error(error));
  return made.callback();
}

let keys = await generate();
let answer = provider(keys);
const serve = (request, response) => answer(request, response);
const server = tls ? https.createServer(tls, serve) : http.createServer(serve);

const commands = {
  async rotate() {
    const made = await generate();
    answer = provider([...made, ...keys]);
    keys = made;
    return { kids: keys.map((key) => key.kid) };
  },
};

server.listen(Number(port), '127.0.0.1', async () => {
  console.log(JSON.stringify({ issuer }));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await commands[JSON.parse(line).do]()));
  }
  process.exit();
});
