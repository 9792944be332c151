// The same service as openid-client sees it.

import * as client from 'openid-client';
import { allow, check, equal, fails, importKey, input } from './common.mjs';

const methods = {
    client_secret_basic: (c) => client.ClientSecretBasic(c.secret),
    client_secret_post: (c) => client.ClientSecretPost(c.secret),
    client_secret_jwt: (c) => client.ClientSecretJwt(c.secret),
    private_key_jwt: async (c) => client.PrivateKeyJwt(await importKey(c.alg, c.key)),
    none: () => client.None(),
};

for (const given of input.clients) {
    const called = given.alg ? `${given.method}, ${given.alg}` : given.method;

    await check(called, async () => {
        const config = await client.discovery(new URL(input.issuer), given.id, undefined,
            await methods[given.method](given),
            { algorithm: 'oauth2', execute: [client.allowInsecureRequests] });
        const pkceCodeVerifier = client.randomPKCECodeVerifier();
        const expectedState = client.randomState();
        const url = client.buildAuthorizationUrl(config, {
            redirect_uri: input.redirect_uri, scope: 'read:tenants', state: expectedState,
            code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
            code_challenge_method: 'S256',
        });
        const back = await allow(url, 'bob');
        const tokens = await client.authorizationCodeGrant(config, back, { pkceCodeVerifier, expectedState });
        const answer = await client.fetchProtectedResource(config, tokens.access_token, new URL(input.api), 'GET');
        equal((await answer.text()).trim(), 'org_42', 'the tenant');

        const next = await client.refreshTokenGrant(config, tokens.refresh_token);
        if (given.method !== 'none') {
            equal((await client.tokenIntrospection(config, next.access_token)).sub, 'bob', 'sub');
            await client.clientCredentialsGrant(config, { scope: 'read:tenants' });
        }
        await client.tokenRevocation(config, next.refresh_token);
        equal((await fails(client.refreshTokenGrant(config, next.refresh_token))).error, 'invalid_grant', 'the error');
    });
}
