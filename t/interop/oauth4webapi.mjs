// Every grant and every way to log in, by oauth4webapi.

import * as oauth from 'oauth4webapi';
import { allow, check, equal, fails, importKey, input } from './common.mjs';

const insecure = { [oauth.allowInsecureRequests]: true };
const issuer = new URL(input.issuer);
let as;

await check('metadata (RFC 8414)', async () => {
    const response = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure });
    as = await oauth.processDiscoveryResponse(issuer, response);
});
if (!as) {
    process.exit(0);
}

await check('metadata of the resource (RFC 9728)', async () => {
    const resource = new URL(input.resource);
    const response = await oauth.resourceDiscoveryRequest(resource, insecure);
    const metadata = await oauth.processResourceDiscoveryResponse(resource, response);
    equal(metadata.authorization_servers[0], input.issuer, 'its authorization server');
});

const methods = {
    client_secret_basic: (c) => oauth.ClientSecretBasic(c.secret),
    client_secret_post: (c) => oauth.ClientSecretPost(c.secret),
    client_secret_jwt: (c) => oauth.ClientSecretJwt(c.secret),
    private_key_jwt: async (c) => oauth.PrivateKeyJwt(await importKey(c.alg, c.key)),
    none: () => oauth.None(),
};

async function authorize(client, scope) {
    const verifier = oauth.generateRandomCodeVerifier();
    const state = oauth.generateRandomState();
    const url = new URL(as.authorization_endpoint);
    for (const [name, value] of Object.entries({
        response_type: 'code', client_id: client.client_id, redirect_uri: input.redirect_uri, scope, state,
        code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
    })) {
        url.searchParams.set(name, value);
    }
    const back = await allow(url, 'alice');
    return { verifier, back, params: oauth.validateAuthResponse(as, client, back, state) };
}

async function exchange(client, auth, { params, verifier }) {
    const response = await oauth.authorizationCodeGrantRequest(as, client, auth, params,
        input.redirect_uri, verifier, insecure);
    return oauth.processAuthorizationCodeResponse(as, client, response);
}

async function refresh(client, auth, token) {
    const response = await oauth.refreshTokenGrantRequest(as, client, auth, token, insecure);
    return oauth.processRefreshTokenResponse(as, client, response);
}

async function call(token) {
    const response = await oauth.protectedResourceRequest(token, 'GET', new URL(input.api), undefined,
        undefined, insecure);
    return { status: response.status, tenant: (await response.text()).trim() };
}

async function turnedAway(token) {
    const error = await fails(call(token));
    equal(error.constructor.name, 'WWWAuthenticateChallengeError', 'what it fails with');
    equal(error.status, 401, 'the status');
    equal(error.cause[0].parameters.error, 'invalid_token', 'the error');
}

for (const given of input.clients) {
    const client = { client_id: given.id };
    const auth = await methods[given.method](given);
    const called = given.alg ? `${given.method}, ${given.alg}` : given.method;

    await check(`${called}: authorization code, use, refresh, revoke`, async () => {
        const tokens = await exchange(client, auth, await authorize(client, 'read:tenants'));
        equal(tokens.token_type, 'bearer', 'token_type');
        equal(tokens.expires_in, 30, 'expires_in');
        equal((await call(tokens.access_token)).tenant, 'org_42', 'the tenant');

        const next = await refresh(client, auth, tokens.refresh_token);
        equal((await call(next.access_token)).status, 200, 'the new token');

        const response = await oauth.revocationRequest(as, client, auth, next.refresh_token, insecure);
        await oauth.processRevocationResponse(response);
        await turnedAway(next.access_token);
        const error = await fails(refresh(client, auth, next.refresh_token));
        equal(error.error, 'invalid_grant', 'a revoked refresh token');
    });

    if (given.method !== 'none') {
        await check(`${called}: client credentials`, async () => {
            const response = await oauth.clientCredentialsGrantRequest(as, client, auth,
                { scope: 'read:tenants' }, insecure);
            const tokens = await oauth.processClientCredentialsResponse(as, client, response);
            equal(tokens.expires_in, 30, 'expires_in');
            equal((await refresh(client, auth, tokens.refresh_token)).expires_in, 30, 'refreshed');
            equal((await call(tokens.access_token)).tenant, 'org_42', 'the tenant');
        });
    }
}

const first = input.clients[0];
const client = { client_id: first.id };
const auth = await methods[first.method](first);

await check('introspection (RFC 7662)', async () => {
    const tokens = await exchange(client, auth, await authorize(client, 'read:tenants'));
    const ask = async (token) => oauth.processIntrospectionResponse(as, client,
        await oauth.introspectionRequest(as, client, auth, token, insecure));
    const active = await ask(tokens.access_token);
    equal(active.active, true, 'active');
    equal(active.scope, 'read:tenants', 'scope');
    equal(active.sub, 'alice', 'sub');
    equal(active.client_id, first.id, 'client_id');
    const other = (tokens.access_token[0] === 'n' ? 'm' : 'n') + tokens.access_token.slice(1);
    equal((await ask(other)).active, false, 'another one');
});

await check('a code that is used twice takes its tokens with it', async () => {
    const grant = await authorize(client, 'read:tenants');
    const tokens = await exchange(client, auth, grant);
    equal((await call(tokens.access_token)).status, 200, 'at first');
    equal((await fails(exchange(client, auth, grant))).error, 'invalid_grant', 'the second time');
    await turnedAway(tokens.access_token);
});

await check('a refresh token that is used again after its successor ends the family', async () => {
    const tokens = await exchange(client, auth, await authorize(client, 'read:tenants'));
    const second = await refresh(client, auth, tokens.refresh_token);
    const third = await refresh(client, auth, second.refresh_token);
    equal((await fails(refresh(client, auth, tokens.refresh_token))).error, 'invalid_grant', 'the first, again');
    equal((await fails(refresh(client, auth, third.refresh_token))).error, 'invalid_grant', 'the third');
    await turnedAway(third.access_token);
});

await check('a wrong secret', async () => {
    const wrong = oauth.ClientSecretBasic('wrong');
    const response = await oauth.clientCredentialsGrantRequest(as, client, wrong, {}, insecure);
    const error = await fails(oauth.processClientCredentialsResponse(as, client, response));
    equal(error.status, 401, 'the status');
});

await check('a scope that the client has not', async () => {
    const response = await oauth.clientCredentialsGrantRequest(as, client, auth, { scope: 'admin' }, insecure);
    const error = await fails(oauth.processClientCredentialsResponse(as, client, response));
    equal(error.error, 'invalid_scope', 'the error');
});

await check('a scope that the client has not, at authorization', async () => {
    const error = await fails(authorize(client, 'admin'));
    equal(error.error, 'invalid_scope', 'the error');
});
